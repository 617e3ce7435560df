"""Names, tags and digests of the registry's API: distribution-spec 1.1's grammar. Pure functions."""

from __future__ import annotations

import re

from sampan.registry.digests import is_digest
from sampan.registry.failures import DIGEST_INVALID, MANIFEST_INVALID, NAME_INVALID, Refusal

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_NAME_LIMIT = 255


def is_name(text: str) -> bool:
    return len(text) <= _NAME_LIMIT and _NAME.fullmatch(text) is not None


def check_name(text: str) -> str:
    if not is_name(text):
        raise Refusal(NAME_INVALID, "invalid repository name", {"name": text[:300]})
    return text


def check_digest(text: str) -> str:
    if not is_digest(text):
        raise Refusal(
            DIGEST_INVALID,
            "provided digest is not valid: sha256 and sha512 are supported",
            {"digest": text[:200]},
        )
    return text


def check_tag(text: str) -> str:
    if _TAG.fullmatch(text) is None:
        raise Refusal(MANIFEST_INVALID, "invalid tag", {"tag": text[:200]})
    return text


def check_reference(text: str) -> str:
    """A tag or a digest."""
    return check_digest(text) if ":" in text else check_tag(text)


def tag_order(tag: str) -> tuple[str, str]:
    """The key that sorts tags: "lexical order (i.e. case-insensitive alphanumeric order)"."""
    return tag.lower(), tag
