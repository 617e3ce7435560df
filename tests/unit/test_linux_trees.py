"""Where directory trees lie on the disk."""

from __future__ import annotations

import contextlib
import os
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


@pytest.mark.parametrize("step", range(1, 12))
def test_a_removal_that_is_cut_short_leaves_nothing_beside_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """What was left beside it would have become a volume or a layer of nobody's."""
    (tmp_path / "tree/a/b/c/d").mkdir(parents=True)
    (tmp_path / "tree/a/b/file").touch()
    (tmp_path / "tree/e/f").mkdir(parents=True)
    real, left = os.rmdir, [step]

    def deadly(*arguments: object, **named: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        real(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", deadly)
        with contextlib.suppress(KeyboardInterrupt):
            trees.remove(tmp_path / "tree")
    assert {path.name for path in tmp_path.iterdir()} <= {"tree"}
    if (tmp_path / "tree").exists():
        trees.remove(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
