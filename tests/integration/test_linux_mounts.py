"""Mounts and namespaces with the real kernel, all below a temporary directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sampan.linux import mounts, namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name in ("low1", "low2", "upper", "work", "root", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "low1/one").write_text("1")
    (tmp_path / "low2/two").write_text("2")
    yield tmp_path
    mounts.unmount_below(tmp_path, detach=True)


def overlay(place: Path) -> None:
    mounts.overlay([place / "low2", place / "low1"], place / "root", upper=place / "upper", work=place / "work")


@pytest.mark.parametrize("old_kernel", [False, True])
def test_an_overlay_of_layers(place: Path, old_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old_kernel:
        monkeypatch.setattr(mounts, "has_lowerdir_plus", lambda: False)
    overlay(place)
    assert sorted(path.name for path in (place / "root").iterdir()) == ["one", "two"]
    (place / "root/one").write_text("changed")
    assert (place / "upper/one").read_text() == "changed" and (place / "low1/one").read_text() == "1"
    assert mounts.is_mounted(place / "root")
    assert mounts.unmount(place / "root") and not mounts.unmount(place / "root")


@pytest.mark.parametrize("old_kernel", [False, True])
def test_two_hundred_layers_with_long_names(place: Path, old_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if old_kernel:
        monkeypatch.setattr(mounts, "has_lowerdir_plus", lambda: False)
    deep = place / ("d" * 200) / ("e,:f" * 40)
    layers = [deep / f"{number:03}" for number in range(200)]
    for layer in layers:
        layer.mkdir(parents=True)
        (layer / layer.name).touch()
    mounts.overlay(layers, place / "root")
    assert len(list((place / "root").iterdir())) == 200


def test_a_failed_mount_is_explained_and_leaves_nothing(place: Path) -> None:
    with pytest.raises(OSError, match="nosuchoption"):
        mounts.overlay([place / "low1", place / "low2"], place / "root", options={"nosuchoption": "1"})
    with pytest.raises(FileNotFoundError):
        mounts.overlay([place / "low1", place / "nosuch"], place / "root")
    assert not mounts.is_mounted(place / "root")


def test_a_read_only_bind_covers_what_is_mounted_below(place: Path) -> None:
    (place / "low1/sub").mkdir()
    mounts.mount("tmpfs", place / "low1/sub", {"size": "1m", "mode": "755"}, attributes=mounts.NOSUID)
    mounts.bind(place / "low1", place / "other", attributes=mounts.RDONLY)
    for path in (place / "other/x", place / "other/sub/x"):
        with pytest.raises(OSError, match="Read-only"):
            path.touch()
    (place / "low1/sub/x").touch()
    assert mounts.unmount_below(place / "other") == [str(place / "other/sub"), str(place / "other")]


def test_a_bind_of_a_descriptor_needs_no_path(place: Path) -> None:
    source, target = (os.open(place / name, os.O_PATH) for name in ("low1", "other"))
    with ExitStack() as stack:
        stack.callback(os.close, source)
        stack.callback(os.close, target)
        (place / "low1").rename(place / "moved")
        with mounts.clone(source) as tree:
            tree.attach_to(target)
    assert (place / "other/one").read_text() == "1"


def test_unmount_does_not_follow_a_link(place: Path) -> None:
    overlay(place)
    (place / "link").symlink_to(place / "root")
    assert not mounts.unmount(place / "link")
    assert mounts.is_mounted(place / "root")


def test_a_named_network_namespace(place: Path) -> None:
    name = place / "netns"
    namespaces.create_netns(name, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1") and None)
    inside = namespaces.in_netns(name, lambda: str(Path("/proc/thread-self/ns/net").readlink()))
    assert (
        inside
        != str(Path("/proc/self/ns/net").readlink())
        == namespaces.in_thread(lambda: str(Path("/proc/thread-self/ns/net").readlink()))
    )
    assert str(name.stat().st_ino) in inside and namespaces.is_namespace(name)
    with pytest.raises(ZeroDivisionError):
        namespaces.in_netns(name, lambda: 1 // 0)
    with pytest.raises(FileExistsError):
        namespaces.create_netns(name)
    assert namespaces.remove_netns(name) and not namespaces.remove_netns(name)
    with pytest.raises(ZeroDivisionError):
        namespaces.create_netns(name, lambda: 1 // 0 and None)
    assert not name.exists()


def test_work_in_another_mount_namespace(place: Path) -> None:
    def unseen() -> str:
        namespaces.unshare(namespaces.CLONE_FS | namespaces.CLONE_NEWNS)
        mounts.set_propagation("/", "private", recursive=True)
        mounts.mount("tmpfs", place / "other")
        (place / "other/mark").touch()
        return namespaces.in_mount_namespace(
            f"/proc/self/task/{os.getpid()}/ns/mnt", lambda: str((place / "other/mark").exists())
        )

    assert namespaces.in_thread(unseen) == "False"
    assert not (place / "other/mark").exists()
