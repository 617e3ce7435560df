"""Where directory trees lie on the disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sampan.linux import trees


def _attributes(directory: Path) -> str:
    return subprocess.run(["lsattr", "-d", directory], capture_output=True, text=True).stdout.partition(" ")[0]


@pytest.mark.skipif(shutil.which("lsattr") is None, reason="needs lsattr (e2fsprogs)")
def test_only_the_directory_that_holds_trees_spreads_them(tmp_path: Path) -> None:
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+T", tmp_path], capture_output=True).returncode:
        pytest.skip("not ext4")
    subprocess.run(["chattr", "-T", tmp_path], check=True)
    trees.spread(tmp_path)
    trees.spread(tmp_path)
    (tmp_path / "tree").mkdir()
    assert "T" in _attributes(tmp_path)
    assert "T" not in _attributes(tmp_path / "tree")


def test_spreading_is_no_error_where_the_filesystem_does_not_know_it() -> None:
    trees.spread(Path("/dev/shm"))
