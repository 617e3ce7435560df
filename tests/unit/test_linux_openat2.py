"""Paths inside a root that somebody else writes to."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.linux import openat2


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/file").write_text("inside")
    return inside


@pytest.fixture
def root(place: Path) -> Iterator[int]:
    with openat2.root(place) as descriptor:
        yield descriptor


@pytest.mark.parametrize("target", ["/etc/file", "../../etc/file", "/../etc/file", "etc/../etc/file"])
def test_links_and_dots_stay_inside(root: int, place: Path, target: str) -> None:
    (place / "link").symlink_to(target)
    assert openat2.read_in_root(root, "link", 100) == b"inside"
    assert openat2.resolve_in_root(root, "/link") == b"etc/file"


def test_what_would_lead_out_is_not_found(root: int, place: Path) -> None:
    (place / "out").symlink_to("../secret")
    (place / "absolute").symlink_to(place.parent / "secret")
    for path in ("out", "absolute", "../secret"):
        with pytest.raises(FileNotFoundError):
            openat2.read_in_root(root, path, 100)
    with pytest.raises(OSError) as error:
        openat2.open_beneath(root, "../secret", os.O_RDONLY)
    assert error.value.errno == errno.EXDEV


def test_magic_links_are_refused(root: int) -> None:
    with openat2.root("/proc/self") as self, pytest.raises(OSError) as error:
        openat2.open_in_root(self, "cwd/x", os.O_PATH)
    assert error.value.errno == errno.ELOOP


def test_directories_are_made_through_dangling_links_but_inside(root: int, place: Path) -> None:
    (place / "dangling").symlink_to("../../made/here")
    os.close(openat2.mkdirs_in_root(root, "dangling/a/../b", 0o700))
    assert (place / "made/here/b").is_dir()
    (place / "loop").symlink_to("loop")
    for path, number in (("loop/x", errno.ELOOP), ("etc/file/x", errno.ENOTDIR)):
        with pytest.raises(OSError) as error:
            openat2.mkdirs_in_root(root, path)
        assert error.value.errno == number


def test_the_parent_and_the_last_name(root: int, place: Path) -> None:
    parent, name = openat2.open_parent(root, "/new/dir/file/", make=True)
    try:
        os.mkdir(name, dir_fd=parent)
    finally:
        os.close(parent)
    assert (place / "new/dir/file").is_dir()
    for bad in ("", "/", "a/..", "."):
        with pytest.raises(OSError):
            openat2.open_parent(root, bad)


def test_only_whole_regular_files_are_read(root: int, place: Path) -> None:
    with pytest.raises(OSError, match="larger than 3 bytes"):
        openat2.read_in_root(root, "etc/file", 3)
    os.mkfifo(place / "fifo")
    for path in ("fifo", "etc"):
        with pytest.raises(OSError, match="not a regular file"):
            openat2.read_in_root(root, path, 100)
