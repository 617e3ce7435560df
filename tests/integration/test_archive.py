"""`docker cp` below the API: what a tar of a container's files holds, and what unpacking one into it does."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.containers.copying.archive import Download, PathStat, put_archive, stat_path
from sampan.containers.copying.views import Views
from sampan.containers.model import Config, Container, HostConfig, MountPoint
from sampan.errors import Forbidden, InvalidParameter, NotFound, SampanError
from sampan.images import Snapshots
from sampan.linux import mounts
from sampan.store import Database, EventLog
from sampan.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Bench:
    """A stopped container made of a snapshot, without a runtime."""

    def __init__(self, root: Path) -> None:
        self.root = root
        database = Database(None)
        self.volumes = Volumes(root, database, EventLog(database))
        self.snapshots = Snapshots(root)
        self.views = Views(root / "run/views", self.volumes, None, self.snapshots)  # type: ignore[arg-type]
        self.container = Container(id="c1", name="box", config=Config(), host_config=HostConfig())
        self.snapshots.prepare("c1", None)
        self.files = self.snapshots.upper("c1")
        self.rootfs = root / "run/rootfs"

    def stat(self, path: str) -> PathStat:
        return stat_path(self.views, self.container, self.rootfs, path, "box")

    def get(self, path: str) -> dict[str, tarfile.TarInfo]:
        data = b"".join(self.chunks(path))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return {member.name: member for member in tar.getmembers()}

    def chunks(self, path: str) -> Iterator[bytes]:
        download = Download(self.views, self.container, self.rootfs, path, "box")
        try:
            yield from download
        finally:
            download.close()

    def put(self, path: str, archive: bytes, **options: bool) -> None:
        put_archive(self.views, self.container, self.rootfs, path, "box", iter([archive]), **options)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert not [m for m in mounts.mountinfo() if m.mount_point.startswith(str(tmp_path))]


def tar(*members: tuple[str, str | None], **attributes: object) -> bytes:
    """Members are (name, content), (name, None) for a directory, (name, "-> target") for a symlink."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif content.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, content[3:]
                archive.addfile(info)
            elif content.startswith("=> "):
                info.type, info.linkname = tarfile.LNKTYPE, content[3:]
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


def furnish(files: Path) -> None:
    (files / "d/sub").mkdir(parents=True)
    (files / "d/file").write_text("hi\n")
    (files / "d/file").chmod(0o4755)
    (files / "lf").symlink_to("/d/file")
    (files / "ld").symlink_to("/d")
    (files / "dang").symlink_to("nowhere")
    (files / "esc").symlink_to("/etc/../../../../etc")
    (files / "etc").mkdir()
    (files / "tmp").mkdir()
    (files / "tmp").chmod(0o1777)
    os.mkfifo(files / "fifo")


def test_stat_is_docker_s(bench: Bench) -> None:
    furnish(bench.files)
    directory = 2147484141
    expected = {
        "/d": ("d", directory, ""),
        "/d/": ("d", directory, ""),
        "/d/.": (".", directory, ""),
        "d/file": ("file", 8389101, ""),
        "/lf": ("lf", 134218239, "/d/file"),
        "/ld": ("ld", 134218239, "/d"),
        "/ld/": ("ld", directory, ""),
        "/ld/.": (".", directory, ""),
        "/dang": ("dang", 134218239, "/nowhere"),
        "/esc": ("esc", 134218239, "/etc"),
        "/esc/": ("esc", directory, ""),
        "/fifo": ("fifo", 33554852, ""),
        "/": ("/", directory, ""),
        ".": (".", directory, ""),
        "/../..": ("/", directory, ""),
        "/tmp": ("tmp", 2148532735, ""),
    }
    for path, (name, mode, target) in expected.items():
        found = bench.stat(path)
        assert (found.name, found.mode, found.link_target) == (name, mode, target), path
    for path in ("/nope", "/nope/x", "/dang/"):
        with pytest.raises(NotFound) as caught:
            bench.stat(path)
        assert caught.value.message == f"Could not find the file {path} in container box"
    for path in ("/d/file/", "/lf/"):
        with pytest.raises(InvalidParameter) as refused:
            bench.stat(path)
        assert refused.value.message == f"lstat {path}: not a directory"


def test_get_names_entries_as_docker_does(bench: Bench) -> None:
    furnish(bench.files)
    os.link(bench.files / "d/file", bench.files / "d/zlink")
    assert list(bench.get("/d")) == ["d", "d/file", "d/sub", "d/zlink"]
    assert bench.get("/d")["d/zlink"].linkname == "d/file"
    assert list(bench.get("/ld/")) == ["ld", "ld/file", "ld/sub", "ld/zlink"]
    assert list(bench.get("/d/.")) == [".", "./file", "./sub", "./zlink"]
    assert list(bench.get("/d/file")) == ["file"]
    assert bench.get("/lf")["lf"].linkname == "/d/file"
    assert bench.get("/fifo")["fifo"].isfifo()
    assert list(bench.get("/"))[:3] == ["", "/d", "/d/file"]


def test_a_large_file_streams_in_bounded_chunks(bench: Bench) -> None:
    with (bench.files / "big").open("wb") as big:
        big.truncate(64 << 20)
    sizes = [len(chunk) for chunk in bench.chunks("/big")]
    assert max(sizes) < 3 << 20
    assert sum(sizes) == (64 << 20) + 3 * 512


def test_put_keeps_owners_and_modes_and_replaces(bench: Bench) -> None:
    furnish(bench.files)
    archive = tar(("new", "data"), ("dir", None), ("dir/link", "=> new"), uid=1234, gid=567, mode=0o2750, mtime=1000)
    bench.put("/d", archive)
    found = (bench.files / "d/new").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777, found.st_mtime) == (1234, 567, 0o2750, 1000)
    assert (bench.files / "d/dir/link").stat().st_ino == found.st_ino
    assert (bench.files / "d/dir").stat().st_mtime == 1000
    bench.put("/ld", tar(("sub", "now a file"), (".wh.file", "kept as it is")))
    assert (bench.files / "d/sub").read_text() == "now a file"
    assert (bench.files / "d/.wh.file").read_text() == "kept as it is"
    assert (bench.files / "d/file").exists()


def test_put_refuses_as_docker_does(bench: Bench) -> None:
    furnish(bench.files)
    one = tar(("x", "1"))
    with pytest.raises(NotFound, match="Could not find the file /nope in container box"):
        bench.put("/nope", one)
    with pytest.raises(InvalidParameter, match="extraction point is not a directory"):
        bench.put("/d/file", one)
    with pytest.raises(InvalidParameter, match=r'cannot overwrite directory "/d/sub" with non-directory "/d"'):
        bench.put("/d", tar(("sub", "file")), keep_kind=True)
    with pytest.raises(InvalidParameter, match=r'cannot overwrite non-directory "/d/file" with directory "/d"'):
        bench.put("/d", tar(("file", None)), keep_kind=True)
    with pytest.raises(SampanError, match=r'"../x" is outside of "/d"'):
        bench.put("/d", tar(("../x", "1")))
    bench.container.host_config.readonly_rootfs = True
    with pytest.raises(Forbidden, match="container rootfs is marked read-only"):
        bench.put("/d", one)


def test_volumes_and_binds_are_seen_and_guarded(bench: Bench, tmp_path: Path) -> None:
    furnish(bench.files)
    bench.volumes.create("data")
    (bench.volumes.mountpoint("data") / "inside").write_text("volume")
    outside = tmp_path / "host"
    outside.mkdir()
    (outside / "conf").write_text("bind")
    bench.container.mounts = [
        MountPoint(type="volume", name="data", destination="/vol"),
        MountPoint(type="bind", source=str(outside), destination="/ld/etc", rw=False),
        MountPoint(type="bind", source=str(outside / "conf"), destination="/vol/one"),
    ]
    bench.container.host_config.readonly_rootfs = True
    assert list(bench.get("/vol")) == ["vol", "vol/inside", "vol/one"]
    assert list(bench.get("/d/etc")) == ["etc", "etc/conf"]
    bench.put("/vol", tar(("put", "x")))
    assert (bench.volumes.mountpoint("data") / "put").read_text() == "x"
    with pytest.raises(Forbidden, match="mounted volume is marked read-only"):
        bench.put("/ld/etc", tar(("put", "x")))
    assert sorted(p.name for p in outside.iterdir()) == ["conf"]


def test_archive_mode_gives_files_to_the_container_s_user(bench: Bench) -> None:
    furnish(bench.files)
    (bench.files / "etc/passwd").write_text("root:x:0:0::/:\napp:x:1000:1001::/:\n")
    bench.container.config.user = "app"
    bench.put("/d", tar(("mine", "x"), uid=5, gid=6), copy_owner=True)
    found = (bench.files / "d/mine").stat()
    assert (found.st_uid, found.st_gid) == (1000, 1001)
