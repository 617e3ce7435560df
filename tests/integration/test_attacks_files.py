"""Containers and archives that try to reach the host through `cp`, volumes and mounts: the host's files must stay."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.containers.copying.archive import Download, put_archive, stat_path
from sampan.containers.copying.views import Views
from sampan.containers.model import Config, Container, HostConfig, MountPoint
from sampan.errors import SampanError
from sampan.images import Snapshots
from sampan.images.tar.packing import pack
from sampan.linux import mounts, openat2
from sampan.linux.copying import copy_tree
from sampan.linux.libc import libc
from sampan.store import Database, EventLog
from sampan.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ROUNDS = 150


class Victim:
    """A container whose files an attacker changes while the daemon works on them, and a host that must not notice."""

    def __init__(self, root: Path) -> None:
        database = Database(None)
        self.volumes = Volumes(root, database, EventLog(database))
        self.snapshots = Snapshots(root)
        self.views = Views(root / "run/views", self.volumes, None, self.snapshots)  # type: ignore[arg-type]
        self.container = Container(id="c1", name="box", config=Config(), host_config=HostConfig())
        self.snapshots.prepare("c1", None)
        self.rootfs = root / "run/rootfs"
        self.snapshots.mount("c1", self.rootfs)
        self.files = self.rootfs
        self.host = root / "host"
        (self.host / "dir").mkdir(parents=True)
        (self.host / "secret").write_text("host secret")
        (self.host / "dir/file").write_text("host file")

    def get(self, path: str) -> dict[str, bytes]:
        download = Download(self.views, self.container, self.rootfs, path, "box")
        try:
            data = b"".join(download)
        finally:
            download.close()
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found: dict[str, bytes] = {}
            for member in tar.getmembers():
                content = tar.extractfile(member) if member.isreg() else None
                found[member.name] = content.read() if content else b""
            return found

    def put(self, path: str, *members: tuple[str, bytes, str]) -> None:
        put_archive(self.views, self.container, self.rootfs, path, "box", iter([archive(*members)]))

    def assert_host_untouched(self) -> None:
        found = {str(p.relative_to(self.host)): p.is_file() and p.read_text() for p in self.host.rglob("*")}
        assert found == {"secret": "host secret", "dir": False, "dir/file": "host file"}


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """(name, type, content or link target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
            else:
                info.linkname = content
                tar.addfile(info)
    return out.getvalue()


FILE, LINK, SYMLINK, DIRECTORY = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(tmp_path)
    yield victim
    victim.snapshots.unmount(victim.rootfs)
    victim.assert_host_untouched()
    assert not [m for m in mounts.mountinfo() if m.mount_point.startswith(str(tmp_path))]


class Swapping:
    """Swaps two names for each other as fast as the kernel can, in a thread, while the block runs."""

    def __init__(self, directory: Path, one: str, other: str) -> None:
        self._directory = os.open(directory, os.O_PATH)
        self._names = one, other
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        one, other = (name.encode() for name in self._names)
        while not self._stop.is_set():
            libc.renameat2(self._directory, one, self._directory, other, 2)  # RENAME_EXCHANGE; failing is part of it

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._directory)


def quietly(work: Callable[[], object]) -> None:
    """Losing a race may be an error; what counts is the host."""
    with contextlib.suppress(SampanError, OSError):
        work()


# -- symlinks ----------------------------------------------------------------------------------------
def test_symlinks_of_the_container_lead_nowhere_on_the_host(victim: Victim) -> None:
    host = str(victim.host)
    (victim.files / "abs").symlink_to(host)
    (victim.files / "rel").symlink_to("../../../../../../../.." + host)
    (victim.files / "file").symlink_to(f"{host}/secret")
    (victim.files / "magic").symlink_to("/proc/self/root" + host)
    for path in ("/abs/", "/abs/secret", "/rel/secret", "/file/", "/magic/secret", f"/../../../..{host}/secret"):
        with pytest.raises(SampanError):
            victim.get(path)
        with pytest.raises(SampanError):
            stat_path(victim.views, victim.container, victim.rootfs, path, "box")
    for path in ("/abs", "/rel", "/magic"):
        with pytest.raises(SampanError):
            victim.put(path, ("secret", FILE, "pwned"))
    assert victim.get("/abs") == {"abs": b""}


def test_a_directory_swapped_for_a_symlink_while_it_is_read(victim: Victim) -> None:
    """CVE-2018-15664."""
    (victim.files / "d/dir").mkdir(parents=True)
    (victim.files / "d/dir/file").write_text("mine")
    (victim.files / "d/link").symlink_to(victim.host / "dir")
    with Swapping(victim.files / "d", "dir", "link"):
        for _ in range(ROUNDS):
            for content in _contents(victim, "/d"):
                assert content in (b"mine", b"")
            for content in _contents(victim, "/d/dir/file"):
                assert content == b"mine"


def _contents(victim: Victim, path: str) -> list[bytes]:
    try:
        return list(victim.get(path).values())
    except (SampanError, OSError):
        return []


def test_a_file_swapped_for_a_symlink_or_a_device_while_it_is_read(victim: Victim) -> None:
    """CVE-2026-41568; a device must not even be opened."""
    (victim.files / "d").mkdir()
    (victim.files / "d/file").write_text("mine")
    (victim.files / "d/link").symlink_to(victim.host / "secret")
    os.mkfifo(victim.files / "d/fifo")
    for other in ("link", "fifo"):
        with Swapping(victim.files / "d", "file", other), openat2.root(victim.files / "d") as root:
            for _ in range(ROUNDS):
                data = b"".join(pack(root, "file", "file"))
                assert b"host secret" not in data


def test_a_directory_swapped_for_a_symlink_while_it_is_written(victim: Victim) -> None:
    """CVE-2018-15664's other direction; CVE-2024-45310 made host files the same way."""
    (victim.files / "d/dir").mkdir(parents=True)
    (victim.files / "d/link").symlink_to(victim.host / "dir")
    members = (("dir", DIRECTORY, ""), ("dir/file", FILE, "pwned"), ("dir/new/deep", FILE, "pwned"))
    with Swapping(victim.files / "d", "dir", "link"):
        for _ in range(ROUNDS):
            quietly(lambda: victim.put("/d", *members))
            quietly(lambda: victim.put("/d/dir", ("file", FILE, "pwned")))
    victim.assert_host_untouched()


# -- archives ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "members",
    [
        (("../../host/secret", FILE, "pwned"),),
        (("/../../../host/secret", FILE, "pwned"),),
        (("a/../../../host/secret", FILE, "pwned"),),
        (("out", SYMLINK, "{host}"), ("out/secret", FILE, "pwned")),
        (("out", SYMLINK, "../../../../../../../..{host}"), ("out/secret", FILE, "pwned")),
        (("hard", LINK, "{host}/secret"), ("hard", FILE, "pwned")),
        (("hard", LINK, "../../../../../../../..{host}/secret"),),
        (("s", SYMLINK, "{host}/secret"), ("hard", LINK, "s"), ("hard", FILE, "pwned")),
        (("s", SYMLINK, "{host}/secret"), ("s", FILE, "pwned")),
        (("dir", SYMLINK, "{host}/dir"), ("dir", DIRECTORY, ""), ("dir/file", FILE, "pwned")),
        (("m", SYMLINK, "/proc/self/root{host}"), ("m/secret", FILE, "pwned")),
    ],
)
def test_an_archive_cannot_write_outside(victim: Victim, members: tuple[tuple[str, bytes, str], ...]) -> None:
    """CVE-2026-17106 and its kin: `..`, absolute names, symlink parents, hard links."""
    (victim.files / "d").mkdir()
    shaped = [(name, kind, content.replace("{host}", str(victim.host))) for name, kind, content in members]
    quietly(lambda: victim.put("/d", *shaped))
    victim.assert_host_untouched()


def test_nothing_of_the_container_is_loaded_or_run(victim: Victim) -> None:
    """CVE-2019-14271 (libnss), CVE-2026-41567 (the container's own xz): the view is never anybody's root but for one
    thread that only mounts, and that one imports nothing."""
    for library in ("lib/x86_64-linux-gnu/libnss_files.so.2", "usr/bin/xz", "usr/bin/tar"):
        planted = victim.files / library
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_text("#!/bin/sh\ntouch /pwned\n")
        planted.chmod(0o755)
    (victim.files / "d").mkdir()
    import lzma

    put_archive(
        victim.views, victim.container, victim.rootfs, "/d", "box", iter([lzma.compress(archive(("x", FILE, "1")))])
    )
    assert victim.get("/d/x") == {"x": b"1"}
    assert not (victim.files / "pwned").exists()
    assert not Path("/pwned").exists()


# -- mounts ------------------------------------------------------------------------------------------
def test_a_mount_destination_swapped_for_a_symlink(victim: Victim) -> None:
    """CVE-2026-42306: the volume's mount point is moved while the view is built."""
    victim.volumes.create("data")
    (victim.volumes.mountpoint("data") / "mine").write_text("volume")
    victim.container.mounts = [MountPoint(type="volume", name="data", destination="/d/mnt")]
    (victim.files / "d/mnt").mkdir(parents=True)
    (victim.files / "d/link").symlink_to(victim.host)
    with Swapping(victim.files / "d", "mnt", "link"):
        for _ in range(ROUNDS):
            quietly(lambda: victim.put("/d/mnt", ("secret", FILE, "pwned")))
            for content in _contents(victim, "/d/mnt/secret"):
                assert content == b"pwned"
    victim.assert_host_untouched()


def test_a_volume_s_symlinks_do_not_lead_copy_up_out(victim: Victim, tmp_path: Path) -> None:
    """Another container plants symlinks in the volume while the image's content is copied into it."""
    source, target = tmp_path / "image", tmp_path / "volume"
    (source / "dir").mkdir(parents=True)
    (source / "dir/file").write_text("pwned")
    (source / "secret").write_text("pwned")
    target.mkdir()
    (target / "dir").symlink_to(victim.host / "dir")
    (target / "secret").symlink_to(victim.host / "secret")
    reading, writing = os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            copy_tree(reading, writing)
    finally:
        os.close(reading)
        os.close(writing)
    victim.assert_host_untouched()


def test_removing_a_volume_does_not_follow_a_swap(victim: Victim) -> None:
    """CVE-2023-0778's kind: the tree changes under the daemon's feet."""
    for _ in range(20):
        victim.volumes.create("data")
        data = victim.volumes.mountpoint("data")
        (data / "dir").mkdir()
        for number in range(20):
            (data / f"dir/{number}").write_text("x")
        (data / "link").symlink_to(victim.host / "dir")
        swapping = Swapping(data, "dir", "link")
        try:
            with swapping:
                quietly(lambda: victim.volumes.remove("data"))
        finally:
            victim.assert_host_untouched()
