"""Which paths of a context a Dockerfile can read."""

from __future__ import annotations

import pytest

from sampan.buildkit import needs
from sampan.builds.dockerfile import parse
from sampan.builds.dockerfile.stages import resolve
from sampan.builds.dockerfile.variables import global_arguments
from sampan.images import platforms


def paths(text: str, target: str = "", triggers: bool = False) -> list[str] | None:
    dockerfile = parse(text.encode(), "Dockerfile")
    arguments = global_arguments(dockerfile, {}, platforms.host(), platforms.host(), target)
    return needs.paths(resolve(dockerfile, arguments, target), lambda name: triggers)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("RUN true", []),
        ("COPY a ./b/c/ /x/", ["a", "b/c"]),
        ("COPY --from=other a /a", []),
        ("ADD https://example.com/x https://github.com/a/b.git local.tar /x/", ["local.tar"]),
        ("COPY *.py src/../lib /x/", ["*.py", "lib"]),
        ("RUN --mount=type=bind,source=dir,target=/d --mount=type=cache,target=/c true", ["dir"]),
        ("RUN --mount=type=bind,from=other,target=/d true", []),
        ("COPY <<EOF /x\nhello\nEOF", []),
        ("COPY . /x", None),
        ("COPY / /x", None),
        ("COPY $WHAT /x", None),
        ("RUN --mount=type=bind,target=/d true", None),
        ("RUN --mount=type=bind,source=$X,target=/d true", None),
        ("ONBUILD COPY a /a", None),
    ],
)
def test_paths(lines: str, expected: list[str] | None) -> None:
    assert paths(f"FROM busybox\n{lines}\n") == expected


def test_stages_that_are_not_built_need_nothing() -> None:
    text = "FROM busybox AS one\nCOPY a /\nFROM busybox AS two\nCOPY b /\n"
    assert paths(text, "one") == ["a"]
    assert paths(text) == ["b"]


def test_a_base_that_may_have_triggers_needs_all() -> None:
    assert paths("FROM other\nCOPY a /\n", triggers=True) is None
    assert paths("FROM scratch\nCOPY a /\n", triggers=True) == ["a"]
