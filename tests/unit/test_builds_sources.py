"""COPY's sources: globs, digests that know content and not time, and files laid onto a root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sampan.builds import modes, sources
from sampan.builds.checksums import open_source
from sampan.builds.copying import Copier
from sampan.errors import InvalidParameter, SampanError
from sampan.linux import openat2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "src/deep").mkdir(parents=True)
    (place / "a.txt").write_text("a")
    (place / "b.txt").write_text("b")
    (place / "src/deep/c.txt").write_text("c")
    (place / "src/link").symlink_to("/../../../../etc/passwd")
    return place


def find(root: Path, *patterns: str, parents: bool = False) -> list[str]:
    return [one.path for one in sources.find(root, patterns, "COPY", parents=parents, context=True)]


def digest(root: Path, path: str) -> str:
    found = sources.find(root, [path], "COPY", parents=False, context=True)
    return sources.digested(found, lambda path, directory: False, owner=False, mode=True).digest


def copy(root: Path, target: Path, path: str, destination: str, **options: object) -> None:
    target.mkdir(exist_ok=True)
    with openat2.root(root) as opened, openat2.root(target) as onto, Copier(onto, **options) as copier:  # type: ignore[arg-type]
        parent, name = open_source(opened, path)
        try:
            copier.copy(parent, name, Path(path).name, destination)
        finally:
            os.close(parent)


def test_globs_match_one_level_and_double_stars_any(root: Path) -> None:
    assert find(root, "*.txt") == ["a.txt", "b.txt"]
    assert find(root, "[ab].tx?") == ["a.txt", "b.txt"]
    assert find(root, "**/*.txt", "*/c.txt") == []
    assert find(root, "**/*.txt", parents=True) == ["a.txt", "b.txt", "src/deep/c.txt"]
    assert find(root, "/src/../a.txt") == ["a.txt"]


def test_what_is_not_there_is_told_in_dockers_words(root: Path) -> None:
    with pytest.raises(SampanError, match="COPY failed: file not found in build context or excluded by .dockerignore"):
        find(root, "nope")
    assert find(root, "a.txt", "*.nope") == ["a.txt"]  # `COPY package.json yarn.lock* ./`
    (root / "lost").symlink_to("nowhere")
    with pytest.raises(SampanError, match="stat lost: file does not exist"):
        find(root, "l*")


def test_what_climbs_out_is_looked_for_inside(root: Path) -> None:
    assert find(root, "../../a.txt") == ["a.txt"]
    with pytest.raises(InvalidParameter, match="forbidden path outside the build context"):
        sources.check_escape("../x", "COPY", find(root, "../*.nope"))


def test_a_link_out_of_the_context_is_not_followed_out(root: Path) -> None:
    with pytest.raises(SampanError, match="file does not exist"):
        find(root, "src/link")


def test_the_digest_knows_content_and_mode_but_not_time(root: Path) -> None:
    before = digest(root, "src")
    os.utime(root / "src/deep/c.txt", (1, 1))
    assert digest(root, "src") == before
    (root / "src/deep/c.txt").chmod(0o755)
    changed = digest(root, "src")
    assert changed != before
    (root / "src/deep/c.txt").write_text("C")
    assert digest(root, "src") not in (before, changed)
    assert digest(root, "a.txt") != digest(root, "b.txt")


def test_a_directory_gives_its_contents_and_merges(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "app/deep").mkdir(parents=True)
    (target / "app/deep/kept").write_text("kept")
    copy(root, target, "src", "/app/")
    assert (target / "app/deep/c.txt").read_text() == "c"
    assert (target / "app/deep/kept").read_text() == "kept"
    assert str((target / "app/link").readlink()) == "/../../../../etc/passwd"


def test_a_file_goes_into_a_directory_or_takes_the_name(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    copy(root, target, "a.txt", "/new/name")
    copy(root, target, "a.txt", "/dir/")
    copy(root, target, "b.txt", "/dir")
    assert (target / "new/name").read_text() == "a"
    assert sorted(path.name for path in (target / "dir").iterdir()) == ["a.txt", "b.txt"]
    with pytest.raises(SampanError, match="cannot copy to non-directory"):
        copy(root, target, "a.txt", "/new/name/")


def test_files_and_directories_do_not_replace_each_other(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "app/deep/c.txt").mkdir(parents=True)
    (target / "app/file").write_text("old")
    with pytest.raises(SampanError, match="cannot replace to directory /app/deep/c.txt with file"):
        copy(root, target, "src", "/app")
    with pytest.raises(SampanError, match="cannot copy to non-directory: /app/file"):
        copy(root, target, "src", "/app/file")
    (root / "src/file").mkdir()
    (target / "app/deep/c.txt").rmdir()
    with pytest.raises(SampanError, match="cannot copy to non-directory: /app/file"):
        copy(root, target, "src", "/app")


def test_a_destination_is_followed_and_keeps_its_own_mode(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "app").mkdir(parents=True, mode=0o700)
    (target / "link").symlink_to("/app")
    (target / "lost").symlink_to("/new")
    (root / "src").chmod(0o1777)
    os.utime(root / "src", (5, 5))
    copy(root, target, "src", "/link")
    assert ((target / "app").stat().st_mode & 0o7777, (target / "app").stat().st_mtime) == (0o700, 5)
    copy(root, target, "src", "/made")
    assert (target / "made").stat().st_mode & 0o7777 == 0o755
    copy(root, target, "a.txt", "/lost")
    assert (target / "lost").is_symlink()
    assert (target / "new").read_text() == "a"


def test_the_destination_cannot_lead_out_of_the_root(root: Path, tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "out").symlink_to(outside)
    copy(root, target, "a.txt", "/out/x/")
    assert list(outside.iterdir()) == []
    assert (target / str(outside).lstrip("/") / "x/a.txt").read_text() == "a"


@pytest.mark.parametrize(
    ("text", "old", "directory", "new"),
    [
        ("755", 0o644, False, 0o755),
        ("4711", 0o644, False, 0o4711),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("a+x", 0o644, False, 0o755),
        ("go-rwx", 0o777, False, 0o700),
        ("g=u", 0o640, False, 0o660),
        ("+t", 0o755, True, 0o1755),
    ],
)
def test_chmod_takes_octal_and_symbolic_modes(text: str, old: int, directory: bool, new: int) -> None:
    assert oct(modes.parse(text)(old, directory)) == oct(new)


@pytest.mark.parametrize("text", ["", "8", "99999", "u", "x=r", "u+q", "77777"])
def test_other_modes_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid chmod parameter"):
        modes.parse(text)


@pytest.mark.parametrize(("text", "mode"), [("", 0o755), ("u+x", 0o755), ("640", 0o750), ("4700", 0o700), ("0", 0)])
def test_directories_on_the_way_get_octal_bits_and_can_be_entered(text: str, mode: int) -> None:
    assert modes.of_new_directories(text) == mode
