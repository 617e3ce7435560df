"""Volumes and mounts against the kernel, without a runtime: driver options, copy-up, subpaths, staging."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sampan.containers.copying.volume_archive import VolumeArchives
from sampan.containers.model import Config, Container, HostConfig, Mount, MountPoint, VolumeOptions
from sampan.containers.mountpoints.mounting import Mounting
from sampan.containers.mountpoints.mounts import resolve
from sampan.errors import InvalidParameter, NotFound, SampanError
from sampan.images import Snapshots
from sampan.linux import mounts
from sampan.store import Database, EventLog
from sampan.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        database = Database(None)
        self.events = EventLog(database)
        self.volumes = Volumes(root, database, self.events)
        self.mounting = Mounting(self.volumes, None, Snapshots(root))  # type: ignore[arg-type]
        self.bundle = root / "bundle"
        self.rootfs = self.bundle / "rootfs"
        self.rootfs.mkdir(parents=True)

    def container(self, host_config: HostConfig, config: Config | None = None) -> Container:
        def none(ref: str) -> Container:
            raise NotFound(ref)

        points = resolve(config or Config(), host_config, none)
        container = Container(id="c1", name="box", host_config=host_config, mounts=points)
        self.mounting.claim("c1", points, host_config)
        self.mounting.populate("c1", points, self.rootfs)
        return container

    def data(self, name: str) -> Path:
        return self.volumes.mountpoint(name)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)
    assert not [m for m in mounts.mountinfo() if m.mount_point.startswith(str(tmp_path))]


def test_a_tmpfs_volume_is_mounted_while_it_is_used(bench: Bench) -> None:
    bench.volumes.create("mem", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,noexec"})
    path = bench.volumes.acquire("mem", "c1")
    bench.volumes.acquire("mem", "c2")
    found = path.stat()
    assert (found.st_uid, mounts.is_mounted(path)) == (1000, True)
    assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize == 1 << 20
    assert os.statvfs(path).f_flag & os.ST_NOEXEC
    assert bench.volumes.release("mem", "c1")
    assert mounts.is_mounted(path)
    assert bench.volumes.release("mem", "c2")
    assert not bench.volumes.release("mem", "c2")
    assert not mounts.is_mounted(path)


def test_a_bind_volume_is_a_host_directory(bench: Bench) -> None:
    host = bench.root / "host"
    host.mkdir()
    bench.volumes.create("bound", options={"type": "none", "device": str(host), "o": "bind"})
    (bench.volumes.acquire("bound", "c1") / "file").write_text("x")
    bench.volumes.release("bound", "c1")
    bench.volumes.remove("bound")
    assert (host / "file").read_text() == "x"


def test_a_failing_mount_says_what_and_why(bench: Bench) -> None:
    bench.volumes.create("broken", options={"type": "none", "device": "/no/such", "o": "bind"})
    with pytest.raises(SampanError) as caught:
        bench.volumes.acquire("broken", "c1")
    assert caught.value.message == (
        f"error while mounting volume '{bench.data('broken')}': failed to mount local volume: "
        f"mount /no/such:{bench.data('broken')}, flags: 0x1000: no such file or directory"
    )
    bench.volumes.create("odd", options={"type": "nosuchfs", "device": ":/x", "o": "addr=127.0.0.1,ro,suid,soft"})
    with pytest.raises(SampanError, match=r", flags: 0x1, data: addr=127.0.0.1,soft: no such device$"):
        bench.volumes.acquire("odd", "c1")


def test_after_a_restart_only_what_runs_stays_mounted(bench: Bench) -> None:
    options = {"type": "tmpfs", "device": "tmpfs"}
    database = bench.volumes._documents._database
    for name in ("kept", "left"):
        bench.volumes.create(name, options=options)
        bench.volumes.acquire(name, f"c-{name}")
    again = Volumes(bench.root, database, bench.events)
    again.adopt("kept", "c-kept")
    again.sweep()
    assert (mounts.is_mounted(bench.data("kept")), mounts.is_mounted(bench.data("left"))) == (True, False)
    again.release("kept", "c-kept")


def test_image_content_is_copied_into_an_empty_volume_once(bench: Bench) -> None:
    source = bench.rootfs / "data"
    (source / "dir").mkdir(parents=True)
    source.chmod(0o1770)
    os.chown(source, 5, 6)
    (source / "dir/file").write_text("content")
    os.chown(source / "dir/file", 1000, 1001)
    (source / "dir/file").chmod(0o4711)
    os.link(source / "dir/file", source / "hard")
    (source / "soft").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo")
    os.setxattr(source / "dir/file", "user.note", b"kept")
    with (source / "sparse").open("wb") as sparse:
        sparse.truncate(10 << 20)
        sparse.seek(5 << 20)
        sparse.write(b"middle")
    bench.container(HostConfig(binds=["vol1:/data"]))
    copied = bench.data("vol1")
    found = (copied / "dir/file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1000, 1001, 0o4711)
    assert (copied.stat().st_uid, copied.stat().st_gid, copied.stat().st_mode & 0o7777) == (5, 6, 0o1770)
    assert (copied / "hard").stat().st_ino == found.st_ino
    assert str((copied / "soft").readlink()) == "/etc/passwd"
    assert (copied / "fifo").is_fifo()
    assert os.getxattr(copied / "dir/file", "user.note") == b"kept"
    assert (copied / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert (copied / "sparse").stat().st_blocks * 512 < 1 << 20

    (source / "later").write_text("x")
    (copied / "dir/file").write_text("changed")
    bench.container(HostConfig(binds=["vol1:/data"]))
    assert not (copied / "later").exists()
    bench.container(HostConfig(binds=["vol2:/data:nocopy"]))
    assert list(bench.data("vol2").iterdir()) == []


def test_copy_up_does_not_leave_the_image(bench: Bench, tmp_path: Path) -> None:
    """CVE-2022-23648: a VOLUME whose path is a symlink to, or climbs to, the host's files."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("host")
    (bench.rootfs / "out").symlink_to(secret)
    (bench.rootfs / "up").symlink_to("../../../../../../" + str(secret).lstrip("/"))
    config = Config(volumes={"/out": {}, "/up": {}, f"/x/../../../..{secret}": {}})
    container = bench.container(HostConfig(), config)
    assert len(container.mounts) == 3
    for point in container.mounts:
        assert list(bench.data(point.name).iterdir()) == []


def test_a_volume_over_a_file_is_refused(bench: Bench) -> None:
    (bench.rootfs / "file").write_text("x")
    with pytest.raises(InvalidParameter, match="cannot mount volume over existing file, file exists /file"):
        bench.container(HostConfig(), Config(volumes={"/file": {}}))


def subpath(path: str) -> HostConfig:
    options = VolumeOptions(subpath=path)
    return HostConfig(mounts=[Mount(type="volume", source="data", target="/x", volume_options=options)])


def test_a_subpath_is_staged_and_cannot_escape(bench: Bench) -> None:
    bench.volumes.create("data")
    data = bench.data("data")
    (data / "ok").mkdir()
    (data / "ok/file").write_text("inside")
    (data / "inner").symlink_to("ok")
    (data / "escape").symlink_to("/etc")
    (data / "climb").symlink_to("../../../../etc")
    for path in ("ok", "inner"):
        container = bench.container(subpath(path))
        (entry,) = bench.mounting.stage(container, bench.bundle)
        assert (Path(str(entry["source"])) / "file").read_text() == "inside"
        bench.mounting.unstage(bench.bundle)
        bench.mounting.release(container)
    for path in ("escape", "climb"):
        with pytest.raises(InvalidParameter) as caught:
            bench.mounting.stage(bench.container(subpath(path)), bench.bundle)
        assert caught.value.message == (f"path concatenation escapes the base directory, base: {data}, subpath: {path}")
    with pytest.raises(InvalidParameter) as missing:
        bench.mounting.stage(bench.container(subpath("none")), bench.bundle)
    assert missing.value.message == f"cannot access path {data}/none: lstat {data}/none: no such file or directory"
    assert not (bench.bundle / "mounts").exists()


def test_v_makes_the_host_directory_and_mount_refuses(bench: Bench) -> None:
    wanted = bench.root / "new/dir"
    container = bench.container(HostConfig(binds=[f"{wanted}:/x"]))
    assert not wanted.exists()
    bench.mounting.stage(container, bench.bundle)
    assert wanted.is_dir()
    with pytest.raises(InvalidParameter) as caught:
        bench.container(HostConfig(mounts=[Mount(type="bind", source="/no/such", target="/x")]))
    assert caught.value.message == ('invalid mount config for type "bind": bind source path does not exist: /no/such')


def test_what_was_claimed_goes_when_the_container_is_not_made(bench: Bench) -> None:
    points = [MountPoint(type="volume", name="named", destination="/a"), MountPoint(type="volume", destination="/b")]
    points[1].anonymous = True
    bench.mounting.claim("c1", points, HostConfig())
    bench.mounting.abandon("c1", points)
    assert [volume.name for volume in bench.volumes.all()] == ["named"]
    bad = [
        MountPoint(type="volume", destination="/b", anonymous=True),
        MountPoint(type="volume", name="x!", destination="/c"),
    ]
    with pytest.raises(InvalidParameter):
        bench.mounting.claim("c1", bad, HostConfig())
    assert [volume.name for volume in bench.volumes.all()] == ["named"]


def test_propagation_needs_a_shared_mount(bench: Bench) -> None:
    private, shared = bench.root / "private", bench.root / "shared"
    for place, kind in ((private, "private"), (shared, "shared")):
        place.mkdir()
        mounts.mount("tmpfs", place)
        mounts.set_propagation(place, kind)
        (place / "dir").mkdir()
    try:
        for mode in ("rshared", "rslave"):
            bench.mounting.stage(bench.container(HostConfig(binds=[f"{shared}/dir:/x:{mode}"])), bench.bundle)
        for mode, wanted in (("rshared", "shared"), ("slave", "shared or slave")):
            with pytest.raises(InvalidParameter) as caught:
                bench.mounting.stage(bench.container(HostConfig(binds=[f"{private}/dir:/x:{mode}"])), bench.bundle)
            assert caught.value.message == (
                f"path {private}/dir is mounted on {private} but it is not a {wanted} mount"
            )
    finally:
        for place in (private, shared):
            mounts.unmount(place)


def test_what_docker_puts_in_every_container(bench: Bench) -> None:
    (bench.rootfs / "etc").mkdir()
    (bench.rootfs / "run").mkdir(mode=0o710)
    container = bench.container(HostConfig(tmpfs={"/run": "", "/new": ""}))
    entries = {entry["destination"]: entry["options"] for entry in bench.mounting.stage(container, bench.bundle)}
    assert (bench.rootfs / ".dockerenv").stat().st_size == 0
    assert str((bench.rootfs / "etc/mtab").readlink()) == "/proc/mounts"
    assert "mode=710" in entries["/run"]  # type: ignore[operator]
    assert not any(option.startswith("mode=") for option in entries["/new"])  # type: ignore[attr-defined]


async def test_a_volume_survives_export_and_import(bench: Bench) -> None:
    bench.volumes.create("from")
    data = bench.data("from")
    os.chown(data, 3, 4)
    data.chmod(0o2775)
    (data / "dir").mkdir()
    (data / "dir/file").write_text("content")
    os.chown(data / "dir/file", 1000, 70000)
    (data / "dir/file").chmod(0o6711)
    os.setxattr(data / "dir/file", "trusted.note", b"kept \0 whole")
    os.utime(data / "dir/file", ns=(1, 1_234_567_890_123_456_789))
    os.link(data / "dir/file", data / "hard")
    (data / ("long" * 50)).symlink_to("x" * 300)
    os.mkfifo(data / "fifo")
    with (data / "sparse").open("wb") as sparse:
        sparse.truncate(100 << 20)
        sparse.seek(50 << 20)
        sparse.write(b"middle")
    (data / "hole").touch()
    os.truncate(data / "hole", 1 << 20)

    archives = VolumeArchives(bench.volumes)
    chunks = [chunk async for chunk in await archives.export("from")]
    assert sum(len(chunk) for chunk in chunks) < 1 << 20

    async def again() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    bench.volumes.create("to", options={"type": "tmpfs", "device": "tmpfs"})
    bench.volumes.acquire("to", "c1")
    await archives.import_("to", again())
    copy = bench.data("to")
    found, root = (copy / "dir/file").stat(), copy.stat()
    assert (root.st_uid, root.st_gid, root.st_mode & 0o7777) == (3, 4, 0o2775)
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1000, 70000, 0o6711)
    assert found.st_mtime_ns == 1_234_567_890_123_456_789
    assert os.getxattr(copy / "dir/file", "trusted.note") == b"kept \0 whole"
    assert (copy / "hard").stat().st_ino == found.st_ino
    assert str((copy / ("long" * 50)).readlink()) == "x" * 300
    assert (copy / "fifo").is_fifo()
    assert (copy / "sparse").stat().st_size == 100 << 20
    assert (copy / "sparse").stat().st_blocks * 512 < 1 << 20
    with (copy / "sparse").open("rb") as sparse:
        sparse.seek(50 << 20)
        assert sparse.read(7) == b"middle\0"
    assert ((copy / "hole").stat().st_size, (copy / "hole").stat().st_blocks) == (1 << 20, 0)
    bench.volumes.release("to", "c1")
    with pytest.raises(NotFound, match=r"^get none: no such volume$"):
        await archives.export("none")
    assert not bench.volumes.in_use("from")
