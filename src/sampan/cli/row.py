"""What a list command shows for one thing, under the names that Go templates call: docker's formatter contexts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Row:
    """A Go formatter context. Subclasses define its methods under their Go names; each returns a string or a Go value.

    `fields` are the exported struct fields that Go's contexts carry besides: reachable, but not part of their JSON.
    """

    go_type = ""
    arity: Mapping[str, int] = {}
    """How many arguments each method takes, by name."""
    fields: Mapping[str, object] = {"Header": None, "FullHeader": None}
    unexported: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        own = {name: method.__code__.co_argcount - 1 for name, method in vars(cls).items() if name[0].isupper()}
        cls.arity = {**cls.arity, **own}

    def show(self) -> str:
        """Go's %v of the struct behind the methods."""
        from .template.govalues import text

        return "{" + " ".join(text(shown, 1) for shown in row_fields(self).values()) + "}"


def row_fields(row: Row) -> dict[str, object]:
    """What the JSON of a row holds: the methods without arguments, sorted."""
    return {name: getattr(row, name)() for name, taken in sorted(row.arity.items()) if not taken}
