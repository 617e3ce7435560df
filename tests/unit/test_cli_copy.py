"""`cp`: archives written and read, path rules, and archives that want out of their directory."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from sampan.cli.container import paths
from sampan.cli.container.paths import Place
from sampan.cli.container.tarreading import Joined, unpack
from sampan.cli.container.tarwriting import pack
from sampan.cli.errors import CliError


def packed(directory: Path, base: str, name: str) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(pack(str(directory), base, name))))


def unpacked(directory: Path, *members: tuple[str, bytes, dict[str, object]], rename: object = None) -> None:
    """Unpack an archive made of (name, content, TarInfo fields) into `directory`, in small pieces."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, fields in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    raw = data.getvalue()
    pieces = (raw[at : at + 700] for at in range(0, len(raw), 700))
    unpack(Joined(pieces, lambda count: None), str(directory), lambda name: name)


LINK = {"type": tarfile.SYMTYPE}
HARD = {"type": tarfile.LNKTYPE}
FOLDER = {"type": tarfile.DIRTYPE, "mode": 0o755}


def test_a_tree_packs_with_modes_links_and_long_names(tmp_path: Path) -> None:
    (tmp_path / "d/sub").mkdir(parents=True)
    long_name = "n" * 180 + "é"
    (tmp_path / "d/sub" / long_name).write_bytes(b"x" * 1000)
    (tmp_path / "d/f").write_text("f")
    (tmp_path / "d/f").chmod(0o4751)
    (tmp_path / "d/hard").hardlink_to(tmp_path / "d/f")
    (tmp_path / "d/soft").symlink_to("f")
    with packed(tmp_path, "d", "new") as archive:
        found = {member.name: member for member in archive}
        assert set(found) == {"new", "new/f", "new/hard", "new/soft", "new/sub", f"new/sub/{long_name}"}
        assert found["new/f"].mode == 0o4751
        assert found["new/hard"].islnk() and found["new/hard"].linkname == "new/f"
        assert found["new/soft"].issym() and found["new/soft"].linkname == "f"
        content = archive.extractfile(found[f"new/sub/{long_name}"])
        assert content is not None and content.read() == b"x" * 1000


def test_what_is_packed_unpacks_the_same(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(bytes(range(256)) * 999)
    os.utime(tmp_path / "a/b/c", (1_500_000_000, 1_500_000_000))
    (tmp_path / "out").mkdir()
    unpack(Joined(pack(str(tmp_path), "a", "z"), lambda count: None), str(tmp_path / "out"), lambda name: name)
    copied = tmp_path / "out/z/b/c"
    assert copied.read_bytes() == (tmp_path / "a/b/c").read_bytes()
    assert copied.stat().st_mtime == 1_500_000_000


def test_dots_that_lead_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(CliError, match="outside of the destination"):
        unpacked(tmp_path / "in", ("a/../../evil", b"x", {}))
    with pytest.raises(CliError, match="outside of the destination"):
        unpacked(tmp_path / "in", ("a", b"", HARD | {"linkname": "../secret"}))
    assert not (tmp_path / "evil").exists()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "host").mkdir()
    with pytest.raises(OSError):
        unpacked(tmp_path / "in", ("d", b"", LINK | {"linkname": str(tmp_path / "host")}), ("d/evil", b"x", {}))
    assert not list((tmp_path / "host").iterdir())


def test_a_link_in_the_place_of_a_file_is_replaced_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "victim").write_text("kept")
    unpacked(tmp_path / "in", ("f", b"", LINK | {"linkname": str(tmp_path / "victim")}), ("f", b"new", {}))
    assert (tmp_path / "victim").read_text() == "kept"
    assert (tmp_path / "in/f").read_text() == "new"


def test_an_absolute_name_stays_below_the_destination(tmp_path: Path) -> None:
    unpacked(tmp_path, ("/etc/sampan-test", b"x", {}))
    assert (tmp_path / "etc/sampan-test").read_bytes() == b"x"


def test_a_directory_and_a_file_do_not_replace_each_other(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("f")
    with pytest.raises(CliError, match="cannot overwrite directory"):
        unpacked(tmp_path, ("d", b"x", {}))
    with pytest.raises(CliError, match="cannot overwrite non-directory"):
        unpacked(tmp_path, ("f", b"", FOLDER))


def test_a_broken_archive_is_told(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot read the archive"):
        unpack(Joined(iter([b"rubbish" * 200]), lambda count: None), str(tmp_path), lambda name: name)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/a/b", ("/a", "b")),
        ("/a/b/", ("/a", "b")),
        ("/a/b/.", ("/a/b", ".")),
        ("/a", ("/", "a")),
        ("/", ("/", "/")),
        ("a", (".", "a")),
        ("/a/../b", ("/", "b")),
    ],
)
def test_split(path: str, parts: tuple[str, str]) -> None:
    assert paths.split(path) == parts


FILE, DIRECTORY = Place("/s/f", exists=True), Place("/s/d", exists=True, is_dir=True)


@pytest.mark.parametrize(
    ("origin", "target", "found"),
    [
        (FILE, Place("/x/d", exists=True, is_dir=True), ("/x/d", None)),
        (DIRECTORY, Place("/x/d", exists=True, is_dir=True), ("/x/d", None)),
        (FILE, Place("/x/f", exists=True), ("/x", "f")),
        (FILE, Place("/x/new"), ("/x", "new")),
        (DIRECTORY, Place("/x/new"), ("/x", "new")),
        (DIRECTORY, Place("/x/new/"), ("/x", "new")),
    ],
)
def test_where_a_copy_goes(origin: Place, target: Place, found: tuple[str, str | None]) -> None:
    assert paths.arrange(origin, target) == found


def test_copies_that_cannot_be() -> None:
    with pytest.raises(CliError, match="cannot copy directory"):
        paths.arrange(DIRECTORY, Place("/x/f", exists=True))
    with pytest.raises(CliError, match="no such directory"):
        paths.arrange(FILE, Place("/x/new/"))


@pytest.mark.parametrize(
    ("old", "new", "name", "renamed"),
    [
        ("d", "n", "d/a", "n/a"),
        ("d", "n", "d", "n"),
        ("d", "n", "dd/a", "dd/a"),
        (".", "n", "./a", "n/a"),
        ("/", "n", "etc/x", "n/etc/x"),
    ],
)
def test_only_the_whole_first_component_is_renamed(old: str, new: str, name: str, renamed: str) -> None:
    assert paths.renamer(old, new)(name) == renamed
