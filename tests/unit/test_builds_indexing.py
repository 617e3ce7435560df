"""A context's tar as a tree: names, links and contents; the same digests as of files on a disk."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from sampan.builds import sources
from sampan.builds.context import Context, lay
from sampan.builds.indexing import Index
from sampan.builds.sources import Source
from sampan.errors import InvalidParameter, SampanError
from sampan.images.tar.headers import BadArchive


def tar(*members: tuple[str, bytes | str], mode: int = 0o644) -> bytes:
    """(name, content), (name + "/", b"") for a directory, (name, "-> target") or (name, "= target") for links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.mode = mode
            if isinstance(content, str):
                kind, _, entry.linkname = content.partition(" ")
                entry.type = tarfile.SYMTYPE if kind == "->" else tarfile.LNKTYPE
                archive.addfile(entry)
            elif name.endswith("/"):
                entry.type = tarfile.DIRTYPE
                entry.mode = 0o755
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def index(tmp_path: Path, data: bytes) -> Index:
    made = Index(tmp_path / f"data-{os.urandom(4).hex()}")
    made.fill([data])
    return made


def content(made: Index, path: str) -> bytes:
    node = made.find(path)
    assert node is not None
    return b"".join(made.read(node))


def test_files_are_found_by_any_spelling_and_the_last_of_a_name_counts(tmp_path: Path) -> None:
    made = index(tmp_path, gzip.compress(tar(("./a/b", b"first"), ("a//c", b"c"), ("/a/b", b"second"))))
    assert content(made, "a/b") == b"second"
    assert content(made, "/a/./c") == b"c"
    assert made.find("a/x") is None
    assert made.lacks("a/x")


def test_names_that_climb_are_refused_and_links_stay_inside(tmp_path: Path) -> None:
    with pytest.raises(SampanError, match='"../x" is outside of "/"'):
        index(tmp_path, tar(("a/../../x", b"")))
    made = index(tmp_path, tar(("d", "-> /../../.."), ("d/planted", b"!"), ("l", "-> a"), ("a", b"a")))
    assert content(made, "planted") == b"!"
    assert made.find("l") is None  # whoever follows links asks the kernel
    assert not made.lacks("l")
    with pytest.raises(SampanError, match="not a directory"):
        index(tmp_path, tar(("x", "-> y"), ("y", "-> x"), ("x/z", b"")))


def test_a_torn_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="unexpected EOF"):
        index(tmp_path, tar(("a", b"x" * 5000))[:3000])


def test_what_is_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    made = index(tmp_path, tar(("d/", b""), ("d/f", b"data"), ("d/h", "= d/f"), ("s", "-> d/f"), mode=0o640))
    place = tmp_path / "unpacked"
    if os.geteuid() == 0:
        lay(made, made.root, place)
        assert (place / "d/f").read_bytes() == b"data"
        assert (place / "d/f").stat().st_ino == (place / "d/h").stat().st_ino
        assert (place / "d/f").stat().st_mode & 0o777 == 0o640
        assert str((place / "s").readlink()) == "d/f"


def test_digests_do_not_tell_whether_files_are_unpacked(tmp_path: Path) -> None:
    made = index(tmp_path, tar(("d/", b""), ("d/f", b"data"), ("d/e/", b""), ("d/s", "-> f"), ("d/g", b"")))
    place = tmp_path / "files"
    (place / "d/e").mkdir(parents=True)
    (place / "d/f").write_bytes(b"data")
    (place / "d/g").write_bytes(b"")
    (place / "d/s").symlink_to("f")
    for path in (place / "d/f", place / "d/g"):
        path.chmod(0o644)
    for path in (place / "d", place / "d/e"):
        path.chmod(0o755)

    def digest(found: list[Source]) -> str:
        return sources.digested(found, lambda path, directory: path == "e/x", owner=False, mode=True).digest

    indexed = sources.find_indexed(made, place, "d", parents=False)
    assert indexed is not None
    assert digest(indexed) == digest(sources.find(place, ["d"], "COPY", parents=False, context=True))


def test_globs_in_a_context_that_is_not_unpacked(tmp_path: Path) -> None:
    made = index(tmp_path, tar(("a.txt", b""), ("b.txt", b""), ("s/c.txt", b""), ("l.txt", "-> a.txt")))

    def find(pattern: str, parents: bool = False) -> list[tuple[str, str]] | None:
        found = sources.find_indexed(made, tmp_path, pattern, parents=parents)
        return None if found is None else [(one.path, one.kept) for one in found]

    assert find("[ab].txt") == [("a.txt", ""), ("b.txt", "")]
    assert find("s/./*.txt", parents=True) == [("s/c.txt", "c.txt")]
    assert find("*.txt") is None  # a link is among them
    assert find("nope") is None


def test_what_was_sent_beside_a_context_is_inside_its_own_directory(tmp_path: Path) -> None:
    context = Context(tmp_path)
    (tmp_path / "contexts/0").mkdir(parents=True)
    (tmp_path / "contexts/1").symlink_to("/etc")
    assert context.beside("contexts/0") == tmp_path / "contexts/0"
    for name in ("contexts/1", "/etc", "../..", "contexts/0/../../..", "contexts/2", "contexts/0\0"):
        with pytest.raises(InvalidParameter, match="no context was sent as"):
            context.beside(name)
