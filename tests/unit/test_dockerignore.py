""".dockerignore: reading it, and what it keeps out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.builds.ignore import Ignore, names, read
from sampan.errors import InvalidParameter


def test_reading_cleans_patterns() -> None:
    source = b"\xef\xbb\xbf# comment\n\n  /leading/  \r\n a/../b//c/ \n! /x/ \n #no comment\n**/\n./y\n/\n"
    assert read(source) == ("leading", "b/c", "!x", "#no comment", "**", "y", "/")


def test_a_file_beside_the_dockerfile_comes_first() -> None:
    assert names("docker/app.Dockerfile") == ("docker/app.Dockerfile.dockerignore", ".dockerignore")


@pytest.mark.parametrize(
    ("pattern", "path", "excluded"),
    [
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("a", "b/a", False),
        ("a", "ab", False),
        ("a/b", "a", False),
        ("*", "x", True),
        ("*", "x/y", True),
        ("*.go", "x.go", True),
        ("*.go", "d/x.go", False),
        ("*/x", "d/x", True),
        ("*/x", "d/e/x", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[]x", "]x", False),
        ("a[\\]]b", "a]b", True),
        ("\\*x", "*x", True),
        ("\\*x", "ax", False),
        ("**", "a/b", True),
        ("**/", "a", True),
        ("**/x", "x", True),
        ("**/x", "a/b/x", True),
        ("**/x", "a/bx", False),
        ("**x", "a/bx", True),
        ("a/**", "a", False),
        ("a/**", "a/b/c", True),
        ("a**", "abc/d", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("**/*.pyc", "a/b.pyc", True),
        ("**/*.pyc", "b.pyc", True),
        ("***x", "a/bx", True),
        ("a.|)$(}+{b", "a.|)$(}+{b", True),
        ("a.b", "aXb", False),
        ("/", "a", False),
        ("файл*", "файлы", True),
    ],
)
def test_patterns(pattern: str, path: str, excluded: bool) -> None:
    if pattern == "[]x":
        with pytest.raises(InvalidParameter, match="syntax error in pattern"):
            Ignore([pattern])
    else:
        assert Ignore([pattern]).excludes(path) is excluded


@pytest.mark.parametrize(
    ("patterns", "path", "excluded"),
    [
        (["docs", "!docs/README.md"], "docs/README.md", False),
        (["docs", "!docs/README.md"], "docs/x", True),
        (["!docs/README.md", "docs"], "docs/README.md", True),
        (["**", "!util/web"], "util/web/foo", False),
        (["**", "!util/web", "util/web/foo"], "util/web/foo", True),
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
    ],
)
def test_later_lines_win(patterns: list[str], path: str, excluded: bool) -> None:
    assert Ignore(patterns).excludes(path) is excluded


@pytest.mark.parametrize("pattern", ["[", "[^", "[a", "a\\", "[-]", "[a-]", "[z-a]", "!"])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(InvalidParameter):
        Ignore([pattern])


def test_walks_leave_out_directories_below_which_nothing_comes_back() -> None:
    ignore = Ignore(["node_modules", "build", "!build/keep/*.txt", "logs", "!**/important"])
    assert Ignore(["node_modules"]).skips("node_modules", True)
    assert not Ignore(["node_modules"]).skips("src", True)
    assert not ignore.skips("build", True)
    assert not ignore.skips("build/keep", True)
    assert ignore.skips("build/keep/x.bin", False)
    assert not ignore.skips("build/keep/x.txt", False)
    assert not ignore.skips("logs", True), "**/important may be there"
    assert Ignore(["a", "b", "!b/c"]).skips("a", True)
    assert Ignore(["b", "!b/c"]).skips("b/d", True)


def test_a_name_made_to_be_slow_is_not() -> None:
    assert not Ignore(["*a*a*a*a*a*a*a*a*a*a*b", "**/**/**/**/x"]).excludes("a" * 200 + "/" + "a" * 200)


_PIECES = st.sampled_from(["a", "b", "*", "**", "?", "/", "[a-b]", "\\*", ".", "ab"])


@given(
    st.lists(_PIECES, min_size=1, max_size=7).map("".join), st.lists(st.sampled_from("ab./"), min_size=1, max_size=9)
)
def test_what_is_below_an_excluded_directory_is_excluded(pattern: str, letters: list[str]) -> None:
    path = "".join(letters).strip("/")
    try:
        ignore = Ignore([pattern])
    except InvalidParameter:
        return
    if path and "//" not in path and ignore.excludes(path):
        assert ignore.excludes(f"{path}/below")
