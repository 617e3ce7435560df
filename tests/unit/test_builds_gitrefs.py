"""What names a git repository, and which part of it."""

from __future__ import annotations

import pytest

from sampan.builds.gitrefs import Git, parse
from sampan.errors import InvalidParameter

HUB = "https://h/o/r.git"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HUB, Git(HUB)),
        (f"{HUB}#v1:docs/x", Git(HUB, "v1", "docs/x")),
        ("git@h:o/r.git#:sub", Git("git@h:o/r.git", "", "sub")),
        ("ssh://git@h/o/r#main", Git("ssh://git@h/o/r", "main")),
        (f"{HUB}?branch=dev&subdir=a/b", Git(HUB, "refs/heads/dev", "a/b")),
        (f"{HUB}?tag=v1&commit=abc123", Git(HUB, "refs/tags/v1", checksum="abc123")),
        (f"{HUB}?ref=main&keep-git-dir&submodules=0", Git(HUB, "main", keep_git_dir=True, submodules=False)),
        (f"{HUB}?mtime=commit&fetch-by-commit=1", Git(HUB, commit_times=True, by_commit=True)),
        ("https://h/o/r", None),
        ("https://h/f.tar.gz?x=y.git", None),
        ("dir/r.git", None),
    ],
)
def test_names(text: str, found: Git | None) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?foo=1", 'unexpected query "foo"'),
        ("?ref=", 'query "ref" has no value'),
        ("?ref=a&ref=b", 'query "ref" has multiple values'),
        ("?tag=a&branch=b", "branch conflicts with tag"),
        ("?ref=a#b", 'ref conflicts: "b" vs "a"'),
        ("?keep-git-dir=x", 'invalid keep-git-dir value: "x"'),
        ("#--upload-pack=x", "invalid git reference: --upload-pack=x"),
        ("?ref=--upload-pack%3dx", "invalid git reference: --upload-pack=x"),
    ],
)
def test_names_that_are_wrong(query: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        parse(HUB + query)
    assert raised.value.message == message
