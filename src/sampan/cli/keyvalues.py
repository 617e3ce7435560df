"""`--label` and `--opt key=value`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """key=value texts as a map; a key alone has the value ""."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def label(text: str) -> str:
    """A `--label`; ValueError where it has no key."""
    key = text.partition("=")[0].strip()
    if not key:
        raise ValueError(f"invalid label '{text}': empty name")
    return text
