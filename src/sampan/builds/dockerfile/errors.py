"""The one failure of this room: a Dockerfile that cannot be built as written."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.builds.dockerfile.ast import Lines
from sampan.errors import InvalidParameter


class DockerfileError(InvalidParameter):
    """`message` is BuildKit's wording. `lines` are the places at fault, in the order they were found; empty when the
    failure has no place. `excerpt` is their drawing, once somebody who has the file has made one."""

    excerpt = ""

    def __init__(self, message: str, lines: Sequence[Lines] = ()) -> None:
        # An invalid byte of the file must not keep its error from being told as JSON.
        super().__init__(message.encode("utf-8", "replace").decode("utf-8"))
        self.lines = tuple(lines)

    def at(self, lines: Lines) -> DockerfileError:
        """The same failure, with one more place."""
        return type(self)(self.message, (*self.lines, lines))
