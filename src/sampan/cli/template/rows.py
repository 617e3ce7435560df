"""The header of a table as a template sees it: column names by method name, and `.Label "a.b"`."""

from __future__ import annotations

from sampan.cli.template.govalues import GoMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _label(header: Header, name: str) -> str:
    """A label's column is named after the last part of its key."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


class Header(GoMap):
    __slots__ = ()
    go_methods: Mapping[str, Callable[[Header, str], str]] = {"Label": _label}

    def __init__(self, names: Mapping[str, str]) -> None:
        super().__init__(names, "formatter.SubHeaderContext")
