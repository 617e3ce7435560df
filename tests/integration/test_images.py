"""Layers on the real kernel: what a hostile tar cannot do, what a good one must keep, snapshots, pulls that break."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import socket
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.errors import SampanError
from sampan.images import Images, Snapshots, layers, manifests
from sampan.images.digests import digest
from sampan.images.layers import Applied, BadLayer
from sampan.images.model import RunConfig
from sampan.images.tar.reader import BadArchive
from sampan.linux import mounts
from sampan.store import Database, EventLog

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, devices, overlayfs")

OPAQUE = "trusted.overlay.opaque"


class Tar:
    """A layer under construction."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, name: str, data: bytes = b"", type: bytes = tarfile.REGTYPE, link: str = "", **more: Any) -> Tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = type, link, len(data)
        info.mode = 0o755 if type == tarfile.DIRTYPE else 0o644
        for key, value in more.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def dir(self, name: str, **more: Any) -> Tar:
        return self.add(name, type=tarfile.DIRTYPE, **more)

    def link(self, name: str, target: str) -> Tar:
        return self.add(name, type=tarfile.SYMTYPE, link=target)

    def hard(self, name: str, target: str) -> Tar:
        return self.add(name, type=tarfile.LNKTYPE, link=target)

    def bytes(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def apply(data: bytes, target: Path, **more: Any) -> Applied:
    """In a thread with its own umask, as the engine does it."""
    result: list[Applied | BaseException] = []

    def run() -> None:
        layers.own_umask()
        try:
            result.append(layers.apply([data[i : i + 5000] for i in range(0, len(data), 5000)], target, **more))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty layer directory with a neighbour that nothing may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("untouched")
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


def untouched(target: Path) -> bool:
    outside = target.parent / "outside"
    return [p.name for p in outside.iterdir()] == ["precious"] and (outside / "precious").read_text() == "untouched"


def test_what_is_said_to_be_hashed_already_is_not_decompressed(target: Path) -> None:
    """Else a compressed blob could pass for the layer whose digest it has."""
    tar = Tar().add("a", b"a").bytes()
    assert apply(tar, target, diff_id=lambda: digest(tar)).diff_id == digest(tar)
    packed = gzip.compress(tar)
    with pytest.raises(BadArchive):
        apply(packed, target, diff_id=lambda: digest(packed))


def test_files_keep_owner_mode_time_links_and_attributes(target: Path) -> None:
    cap = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
    tar = Tar().dir("d", mode=0o2770, uid=5, gid=6, mtime=111)
    tar.add("d/suid", b"x" * 700, mode=0o6755, uid=7, gid=8, mtime=222).hard("d/hard", "d/suid").link("d/l", "/nowhere")
    tar.add("d/cap", b"c", pax_headers={"SCHILY.xattr.security.capability": cap.decode("latin-1")})
    tar.add("d/x", b"c", pax_headers={"SCHILY.xattr.user.note": "hi", "SCHILY.xattr.trusted.overlay.redirect": "/etc"})
    tar.add("d/fifo", type=tarfile.FIFOTYPE, mode=0o600).add("d/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
    applied = apply(tar.bytes(), target)
    suid = (target / "d/suid").stat()
    assert (stat.S_IMODE(suid.st_mode), suid.st_uid, suid.st_gid, suid.st_mtime) == (0o6755, 7, 8, 222)
    assert suid.st_nlink == 2 and (target / "d/hard").stat().st_ino == suid.st_ino
    directory = (target / "d").stat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_mtime) == (0o2770, 5, 111)
    assert (target / "d/cap").stat().st_gid == 0, "a set-gid directory must not give its group to what the layer owns"
    assert (target / "d/l").readlink() == Path("/nowhere")
    assert os.listxattr(target / "d/x") == ["user.note"], "an image may not write overlayfs' own attributes"
    assert stat.S_ISFIFO((target / "d/fifo").stat().st_mode) and (target / "d/null").stat().st_rdev == os.makedev(1, 3)
    assert applied.size == 700 + len("/nowhere") + 2


@pytest.mark.parametrize("format", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_stay_sparse(target: Path, tmp_path: Path, format: str) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
        file.truncate(16 << 20)
    how = ["--format=gnu"] if format == "gnu" else ["--format=pax", f"--sparse-version={format}"]
    subprocess.run(["tar", "-S", *how, "-cf", "s.tar", "holes"], check=True, cwd=tmp_path)
    apply((tmp_path / "s.tar").read_bytes(), target)
    assert (target / "holes").read_bytes() == (tmp_path / "holes").read_bytes()
    assert (target / "holes").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    "tar",
    [
        Tar().link("out", "../outside").add("out/precious", b"bad"),
        Tar().link("out", "/").add("out/etc/sampan-escape", b"bad"),
        Tar().link("a", "..").link("b", "a/outside").add("b/precious", b"bad"),
        Tar().link("out", "../outside").dir("out/new"),
        Tar().link("out", "../outside").add("out/.wh.precious"),
        Tar().link("out", "../outside").add("out/.wh..wh..opq"),
        Tar().link("precious", "../outside/precious").add("precious", b"bad"),
        Tar().dir("d").link("d", "../outside").add("d/precious", b"bad"),
        Tar().link("f", "../outside/precious").add("f", b"bad", mode=0o666),
        Tar().add("/../outside/precious", b"bad"),
    ],
    ids=lambda tar: "",
)
def test_nothing_outside_the_target_is_touched(target: Path, tar: Tar) -> None:
    with contextlib.suppress(SampanError):
        apply(tar.bytes(), target)
    assert untouched(target) and not Path("/etc/sampan-escape").exists()
    assert os.listxattr(target.parent / "outside") == []


@pytest.mark.parametrize(
    ("tar", "entry"),
    [
        (Tar().add("../outside/precious", b"bad"), "../outside/precious"),
        (Tar().add("a/../../x"), "a/../../x"),
        (Tar().hard("h", "../outside/precious"), "../outside/precious"),
        (Tar().hard("h", "nosuch"), "nosuch"),
        (Tar().link("out", "../outside").hard("h", "out/precious"), "out/precious"),
        (Tar().add(".wh.."), ".wh.."),
        (Tar().add("d/.wh..."), ".wh..."),
        (Tar().add(".wh."), ".wh."),
        (Tar().add("odd", type=b"V"), "odd"),
        (Tar().add("n" * 300), "n" * 300),
        (Tar().link("loop", "loop").add("loop/x"), "loop/x"),
        (Tar().add("owner", uid=1 << 40), "owner"),
        (Tar().add("time", mtime=1 << 70), "time"),
        (Tar().dir("old", mtime=-(1 << 70)), "old"),
        (Tar().link("group", "x").dir("d", gid=1 << 33), "d"),
        (Tar().add("device", type=tarfile.CHRTYPE, devmajor=0o7777777, devminor=0o7777777), "device"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_name_the_entry(target: Path, tar: Tar, entry: str) -> None:
    with pytest.raises(BadLayer) as caught:
        apply(tar.bytes(), target)
    assert entry in caught.value.message and untouched(target)


def test_later_entries_replace_earlier_ones(target: Path) -> None:
    tar = Tar().add("a", b"1").add("a", b"22").dir("d").add("d/x", b"3").add("d", b"now a file")
    tar.link("l", "a").add("l", b"real").dir("e", mode=0o700).add("e/in", b"4").dir("e", mode=0o711)
    tar.add("deep/er/f", b"5").add("deep", b"").add("deep/er/f", b"6")
    applied = apply(tar.bytes(), target)
    assert (target / "a").read_bytes() == b"22" and (target / "d").read_bytes() == b"now a file"
    assert (
        not (target / "l").is_symlink() and (target / "e/in").exists() and (target / "deep/er/f").read_bytes() == b"6"
    )
    assert stat.S_IMODE((target / "e").stat().st_mode) == 0o711
    assert applied.size == 2 + 10 + 4 + 1 + 1


def test_whiteouts_become_overlayfs_marks(target: Path) -> None:
    tar = Tar().dir("d").add("d/.wh.gone").add("d/.wh..wh..opq").add(".wh.top").add(".wh..wh.plnk")
    tar.add("kept", b"1").add(".wh.kept").dir("anew").add("anew/f").add(".wh.anew")
    apply(tar.add(".wh.back").dir("back").bytes(), target)
    for name in ("d/gone", "top"):
        found = (target / name).lstat()
        assert stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
    assert os.getxattr(target / "d", OPAQUE) == b"y" and not (target / ".wh..wh.plnk").exists()
    assert (target / "kept").read_bytes() == b"1", "a whiteout hides what lies below, not what its own layer brings"
    for name in ("anew", "back"):
        assert os.getxattr(target / name, OPAQUE) == b"y"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_diff_id_is_of_the_plain_tar(target: Path, pack: Callable[[bytes], bytes]) -> None:
    data = Tar().add("f", b"x" * 9999).bytes()
    applied = apply(pack(data), target)
    assert applied.diff_id == digest(data) and applied.entries == 1


def test_a_layer_larger_than_the_disk_is_refused_plainly(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounts.mount("tmpfs", small, {"size": "100m"})
    try:
        bomb = gzip.compress(Tar().add("zeros", bytes(200 << 20)).bytes(), 1)
        with pytest.raises(SampanError, match="no space left on device"):
            apply(bomb, small)
        assert sum(f.stat().st_size for f in small.iterdir()) <= 64 << 20
    finally:
        mounts.unmount(small)


_names = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "../x", "/a", "b/../a", "l", "l/x", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "."]
)
_kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
_targets = st.sampled_from(["a", "../outside", "/", "..", "../outside/precious", "l", "a/b", "."])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_names, _kinds, _targets), max_size=8))
def test_no_sequence_of_entries_escapes(target: Path, entries: list[tuple[str, bytes, str]]) -> None:
    tar = Tar()
    for name, kind, link in entries:
        linked = kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)
        tar.add(name, b"" if kind != tarfile.REGTYPE else b"bad", kind, link if linked else "")
    inside = target / os.urandom(8).hex()
    inside.mkdir()
    (target / "outside").mkdir(exist_ok=True)
    (target / "outside" / "precious").write_text("untouched")
    before = sorted(p.name for p in target.iterdir())
    with contextlib.suppress(SampanError):
        apply(tar.bytes(), inside)
    assert sorted(p.name for p in target.iterdir()) == before
    assert [p.name for p in (target / "outside").iterdir()] == ["precious"]
    assert (target / "outside" / "precious").read_text() == "untouched"
    subprocess.run(["rm", "-rf", inside], check=True)


# -- snapshots ---------------------------------------------------------------------------------------
class Room:
    """Images on a data root of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = Database(root / "state.db")
        self.snapshots = Snapshots(root)
        self.images = Images(root, self.database, EventLog(self.database), self.snapshots)

    async def close(self) -> None:
        await self.images.close()
        self.database.close()

    def rubbish(self) -> list[str]:
        return [
            *(p.name for p in (self.root / "ingest").iterdir()),
            *(p.name for p in (self.root / "layers").iterdir() if p.name.startswith(".")),
        ]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path / "data")
    yield room
    await room.close()
    mounts.unmount_below(tmp_path)


def config_of(*tars: bytes) -> bytes:
    return json.dumps(
        {"os": "linux", "architecture": "amd64", "config": {"Labels": {"a": "b"}},
         "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
         "history": [{"created_by": "step"} for _ in tars]}
    ).encode()  # fmt: skip


async def load(room: Room, name: str, *tars: bytes) -> str:
    """A docker-archive of some layers, loaded."""
    archive, config = Tar(), config_of(*tars)
    for number, tar in enumerate(tars):
        archive.add(f"{number}/layer.tar", tar)
    items = [{"Config": "c.json", "RepoTags": [name], "Layers": [f"{n}/layer.tar" for n in range(len(tars))]}]
    data = archive.add("c.json", config).add("manifest.json", json.dumps(items).encode()).bytes()

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await room.images.load(chunks(), lambda _: None)
    return room.images.resolve(name).id


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


async def test_changes_are_what_docker_diff_says_and_a_commit_brings_them_back(room: Room, tmp_path: Path) -> None:
    base = Tar().dir("etc", mtime=5).add("etc/a", b"1").add("etc/b", b"2").dir("old").add("old/x", b"3")
    base.add("bin", b"4").dir("kept").add("kept/f", b"5").dir("swapped").add("swapped/one").add("swapped/two")
    base.add("swapped/sub/s")
    top = Tar().add("etc/c", b"6").add(".wh.bin").bytes()
    id = await load(room, "base", base.bytes(), top)
    chain = room.images.resolve("base").chain_id
    room.snapshots.prepare("box", chain)
    view = tmp_path / "view"
    room.snapshots.mount("box", view)
    room.snapshots.mount("box", view)  # idempotent
    (view / "etc/a").write_text("changed")
    (view / "etc/b").unlink()
    (view / "new/deep").mkdir(parents=True)
    (view / "new/deep/f").write_text("n")
    (view / "kept/f").chmod(0o600)
    os.utime(view / "etc/c", (6, 6))
    os.utime(view / "etc/c", (0, 0))  # copied up, but as it was
    run("rm", "-r", view / "old", view / "swapped")
    (view / "swapped/sub").mkdir(parents=True)
    (view / "swapped/two").write_bytes(b"")
    os.utime(view / "swapped/two", (0, 0))
    (view / "bin").write_text("back")
    (view / "dev").mkdir()
    (view / "etc/hosts").touch()  # a mount point the runtime makes: no change
    listed = [f"{'CAD'[change.kind]} {change.path}" for change in room.snapshots.changes("box")]
    assert listed == [
        "A /bin", "C /etc", "C /etc/a", "D /etc/b", "C /kept", "C /kept/f", "A /new", "A /new/deep", "A /new/deep/f",
        "D /old", "C /swapped", "D /swapped/one", "C /swapped/sub", "D /swapped/sub/s", "C /swapped/two",
    ]  # fmt: skip
    made = await room.images.commit(id, "box", RunConfig(cmd=["x"]), reference="made:1", comment="c")
    again = await room.images.commit(id, "box", RunConfig(cmd=["x"]), comment="c")
    assert room.images.resolve(made).config.rootfs.diff_ids == room.images.resolve(again).config.rootfs.diff_ids
    other = tmp_path / "other"
    room.snapshots.prepare("two", room.images.resolve("made:1").chain_id)
    room.snapshots.mount("two", other, volatile=True)
    assert (
        (other / "etc/a").read_text() == "changed" and not (other / "etc/b").exists() and not (other / "old").exists()
    )
    assert (other / "bin").read_text() == "back" and sorted(p.name for p in (other / "swapped").iterdir()) == [
        "sub",
        "two",
    ]
    assert list((other / "swapped/sub").iterdir()) == []
    assert room.images.history("made:1")[1].id == id
    for key, point in (("box", view), ("two", other)):
        room.snapshots.unmount(point)
        room.snapshots.remove(key)
    assert room.snapshots.keys() == []


async def test_a_commit_cannot_be_led_outside_by_a_swapped_directory(room: Room, tmp_path: Path) -> None:
    await load(room, "base", Tar().add("f").bytes())
    room.snapshots.prepare("box", room.images.resolve("base").chain_id)
    upper = room.snapshots.upper("box")
    (upper / "d").mkdir()
    (upper / "d/secret").write_text("mine")
    changes = room.snapshots.changes("box")
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("HOST")
    run("rm", "-r", upper / "d")
    (upper / "d").symlink_to(tmp_path / "host")
    from sampan.images import diff

    assert b"HOST" not in b"".join(diff.layer(upper, changes))
    room.snapshots.remove("box")


async def test_an_image_without_layers_and_one_layer_can_be_mounted(room: Room, tmp_path: Path) -> None:
    await load(room, "empty")
    assert room.images.resolve("empty").chain_id is None
    room.snapshots.prepare("box", None)
    room.snapshots.mount("box", tmp_path / "view")
    (tmp_path / "view/f").write_text("x")
    room.snapshots.unmount(tmp_path / "view")
    assert room.snapshots.usage("box") == 1
    await load(room, "one", Tar().add("f", b"1").bytes())
    room.snapshots.mount_chain(room.images.resolve("one").chain_id, tmp_path / "ro")
    assert (tmp_path / "ro/f").read_bytes() == b"1"
    with pytest.raises(OSError, match="Read-only"):
        (tmp_path / "ro/new").touch()
    room.snapshots.unmount(tmp_path / "ro")
    room.snapshots.remove("box")


async def test_a_layer_of_an_earlier_boot_that_was_not_synced_is_made_again(room: Room) -> None:
    await load(room, "base", Tar().add("f", b"good").bytes())
    chain = room.images.resolve("base").chain_id
    assert chain is not None
    layer = room.snapshots.layer(chain)
    mark = layer.parent / "unsynced"
    assert mark.is_symlink()
    room.images.holdings.sync()
    assert not mark.is_symlink() and not list((room.root / "unsynced").iterdir())
    await room.images.close()
    mark.symlink_to("another-boot")
    (layer / "f").write_bytes(b"torn")
    again = Room(room.root)
    assert (layer / "f").read_bytes() == b"good" and not [p for p in again.rubbish() if p]
    await again.close()
    room.images = Images(room.root, room.database, EventLog(room.database), room.snapshots)


async def test_a_blob_torn_by_a_power_cut_takes_its_image_along(room: Room) -> None:
    await load(room, "base", Tar().add("f", b"good").bytes())
    await load(room, "other", Tar().add("g", b"good").bytes())
    blob = room.images.holdings.catalog.images[room.images.resolve("base").id].layers[0]
    for mark in (room.root / "unsynced").iterdir():
        mark.unlink()
        mark.symlink_to("another-boot")
    room.images.holdings.content.path(blob).write_bytes(b"torn")
    again = Room(room.root)
    assert [row.image.repo_tags for row in again.images.list()] == [["other:latest"]] and not again.rubbish()
    await again.close()


async def test_an_import_is_one_layer_with_its_configuration(room: Room) -> None:
    data = Tar().add("f", b"1").bytes()

    async def chunks() -> AsyncIterator[bytes]:
        yield gzip.compress(data)

    id = await room.images.import_archive(chunks(), "made/here", RunConfig(cmd=["f"]), "by hand")
    image = room.images.resolve("made/here:latest")
    assert (image.id, image.size, image.config.config.cmd, image.config.comment) == (id, 1, ["f"], "by hand")
    assert image.config.rootfs.diff_ids == [digest(data)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda tar: tar[: len(tar) // 2],
        lambda tar: tar[:1000] + bytes([tar[1000] ^ 1]) + tar[1001:],
        lambda tar: Tar().add("../x").bytes(),
    ],
    ids=["cut", "flipped", "escape"],
)
async def test_a_bad_layer_in_an_archive_leaves_nothing(room: Room, damage: Callable[[bytes], bytes]) -> None:
    good = Tar().add("f", b"x" * 5000).bytes()
    archive = Tar().add("l.tar", damage(good)).add("c.json", config_of(good))
    items = [{"Config": "c.json", "RepoTags": ["bad:1"], "Layers": ["l.tar"]}]
    data = archive.add("manifest.json", json.dumps(items).encode()).bytes()

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    with pytest.raises(SampanError):
        await room.images.load(chunks(), lambda _: None)
    assert room.images.list() == [] and not room.rubbish()
    assert not list(room.images.holdings.content.digests()) and not room.snapshots.layers()


# -- pulls -------------------------------------------------------------------------------------------
class Registry:
    """One image on loopback: `layers` may be changed by a test, `slow` lets it stop in the middle."""

    def __init__(self, *tars: bytes) -> None:
        self.config = config_of(*tars)
        self.blobs = {digest(self.config): self.config}
        packed = [gzip.compress(tar, 1, mtime=0) for tar in tars]
        self.blobs |= {digest(blob): blob for blob in packed}
        self.layers = [digest(blob) for blob in packed]
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": manifests.DOCKER_MANIFEST,
                "config": {
                    "mediaType": manifests.DOCKER_CONFIG, "digest": digest(self.config), "size": len(self.config)
                },
                "layers": [
                    {"mediaType": manifests.DOCKER_LAYER + ".gzip", "digest": digest(blob), "size": len(blob)}
                    for blob in packed
                ],
            }
        ).encode()  # fmt: skip
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.corrupt = ""

    async def __aenter__(self) -> Registry:
        app = web.Application()
        app.router.add_get("/v2/{name:.+}/manifests/{ref}", self._manifest)
        app.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.name = f"127.0.0.1:{self._runner.addresses[0][1]}/team/tool:1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _manifest(self, request: web.Request) -> web.Response:
        headers = {"Content-Type": manifests.DOCKER_MANIFEST, "Docker-Content-Digest": digest(self.manifest)}
        return web.Response(body=self.manifest, headers=headers)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info["digest"]
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if wanted in self.layers:
            self.asked.append(f"{wanted}@{start}")
        data = self.blobs[wanted][start:]
        if wanted == self.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        response = web.StreamResponse(status=206 if start else 200)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(self.blobs[wanted]) - 1}/{len(self.blobs[wanted])}"
        response.content_length = len(data)
        await response.prepare(request)
        half = len(data) // 2
        await response.write(data[:half])
        if self.gate is not None and wanted in self.layers:
            await self.gate.wait()
        await response.write(data[half:])
        return response


def start(*command: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)


async def until(true: Callable[[], bool]) -> None:
    """Waits for another task or process to get somewhere."""
    for _ in range(3000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


def noisy(name: str, size: int = 2 << 20) -> bytes:
    """A layer that does not compress, so that half of its blob is many chunks."""
    return Tar().add(name, hashlib.shake_128(name.encode()).digest(size)).bytes()


async def test_layers_arrive_verified_and_are_shared(room: Room) -> None:
    told: list[dict[str, Any]] = []
    async with Registry(noisy("one"), noisy("two")) as registry:
        await room.images.pull(registry.name, None, None, told.append)
        image = room.images.resolve(registry.name)
        assert image.id == digest(registry.config) and image.manifest_digest == digest(registry.manifest)
        lines = [m["status"] for m in told if m.get("id") == registry.layers[0][7:19]]
        assert lines[0] == "Pulling fs layer" and lines[-1] == "Pull complete" and "Download complete" in lines
        counted = [m for m in told if m["status"] == "Downloading"]
        assert counted and set(counted[0]["progressDetail"]) == {"current", "total"} and "progress" in counted[0]
        told.clear()
        await room.images.pull(registry.name, None, None, told.append)
        assert told[-1]["status"] == f"Status: Image is up to date for {registry.name}"
        assert len(registry.asked) == 2
        room.images.delete(registry.name)
        assert not room.snapshots.layers() and not room.rubbish()


async def test_two_pulls_at_once_fetch_each_layer_once(room: Room) -> None:
    async with Registry(noisy("one"), noisy("two")) as registry:
        registry.gate = asyncio.Event()
        pulls = [asyncio.create_task(room.images.pull(registry.name, None, None, lambda _: None)) for _ in range(2)]
        await until(lambda: len(registry.asked) == 2)
        registry.gate.set()
        await asyncio.gather(*pulls)
        assert sorted(registry.asked) == sorted(f"{layer}@0" for layer in registry.layers)


async def test_a_layer_twice_in_one_image_is_fetched_once(room: Room) -> None:
    async with Registry(noisy("same"), noisy("same")) as registry:
        await room.images.pull(registry.name, None, None, lambda _: None)
        assert len(registry.asked) == 1 and len(room.snapshots.layers()) == 2


async def test_a_cancelled_pull_leaves_nothing_locked_and_the_next_resumes(room: Room) -> None:
    async with Registry(noisy("one")) as registry:
        registry.gate = asyncio.Event()
        pull = asyncio.create_task(room.images.pull(registry.name, None, None, lambda _: None))
        partial = room.root / "ingest" / registry.layers[0][7:]
        await until(lambda: partial.exists() and partial.stat().st_size > 0)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        registry.gate.set()
        assert room.images.list() == [] and room.rubbish() == [registry.layers[0][7:]]
        await room.images.pull(registry.name, None, None, lambda _: None)
        assert int(registry.asked[-1].rpartition("@")[2]) > 0 and room.images.resolve(registry.name)


async def test_wrong_bytes_are_refused_with_the_blobs_name_and_leave_nothing(room: Room) -> None:
    async with Registry(noisy("one")) as registry:
        registry.corrupt = registry.layers[0]
        with pytest.raises(SampanError, match=registry.layers[0]):
            await room.images.pull(registry.name, None, None, lambda _: None)
        assert room.images.list() == [] and not room.snapshots.layers() and not room.rubbish()
        assert not list(room.images.holdings.content.digests())


async def test_a_layer_that_does_not_fit_its_config_is_refused(room: Room) -> None:
    async with Registry(noisy("one")) as registry:
        lying = config_of(noisy("other", 100))
        registry.blobs[digest(lying)] = lying
        registry.manifest = registry.manifest.replace(digest(registry.config).encode(), digest(lying).encode()).replace(
            b'"size": %d' % len(registry.config), b'"size": %d' % len(lying)
        )
        with pytest.raises(SampanError, match="does not match its config"):
            await room.images.pull(registry.name, None, None, lambda _: None)
        assert not room.snapshots.layers()


async def test_a_pull_that_fills_the_disk_says_so_and_frees_it_again(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounts.mount("tmpfs", small, {"size": "70m"})
    try:
        room = Room(small)
        async with Registry(noisy("one", 40 << 20)) as registry:
            with pytest.raises(SampanError, match="no space left on device"):
                await room.images.pull(registry.name, None, None, lambda _: None)
        assert not room.rubbish() and not room.snapshots.layers() and room.images.list() == []
        await room.close()
    finally:
        mounts.unmount(small)


async def test_a_killed_pull_is_cleaned_up_at_the_next_start(tmp_path: Path) -> None:
    async with Registry(noisy("one")) as registry:
        registry.gate = asyncio.Event()
        script = (
            "import asyncio, sys; from pathlib import Path; from sampan.images import Images, Snapshots;"
            "from sampan.store import Database, EventLog; r = Path(sys.argv[1]); d = Database(r / 'state.db');"
            "i = Images(r, d, EventLog(d), Snapshots(r)); asyncio.run(i.pull(sys.argv[2], None, None, print))"
        )
        root = tmp_path / "data"
        process = start(sys.executable, "-c", script, root, registry.name)
        try:
            await until(
                lambda: bool(list(root.glob("layers/.new-*")) and any(p.stat().st_size for p in root.glob("ingest/*")))
            )
        finally:
            process.kill()
            process.wait()
        room = Room(root)
        assert room.images.list() == [] and not list(root.glob("layers/.*"))
        assert [len(p.name) for p in root.glob("ingest/*")] == [64], "only the partial blob stays, to be resumed"
        registry.gate.set()
        await room.images.pull(registry.name, None, None, lambda _: None)
        assert room.images.resolve(registry.name) and not room.rubbish()
        await room.close()


async def test_a_client_that_stops_sending_an_archive_leaves_nothing(room: Room) -> None:
    left, right = socket.socketpair()
    right.close()
    left.close()

    async def chunks() -> AsyncIterator[bytes]:
        yield Tar().add("big.tar", bytes(1 << 20)).bytes()[:500_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await room.images.load(chunks(), lambda _: None)
    assert not room.rubbish() and not list(room.images.holdings.content.digests())


def test_hello_runs_here(tmp_path: Path) -> None:
    from sampan.images import hello, platforms

    binary = tmp_path / "hello"
    binary.write_bytes(hello.elf(platforms.host().architecture))
    binary.chmod(0o755)
    assert subprocess.run([binary], check=True, capture_output=True, text=True).stdout == hello.TEXT


def _emulators() -> Iterator[Any]:
    from shutil import which

    for architecture, program in (("arm64", "aarch64"), ("arm", "arm"), ("riscv64", "riscv64"), ("386", "i386")):
        path = which(f"qemu-{program}-static") or which(f"qemu-{program}")
        missing = pytest.mark.skipif(path is None, reason=f"no qemu-{program}")
        yield pytest.param(architecture, path or "", id=architecture, marks=missing)


@pytest.mark.parametrize(("architecture", "emulator"), list(_emulators()))
def test_hello_runs_elsewhere(tmp_path: Path, architecture: str, emulator: str) -> None:
    from sampan.images import hello

    binary = tmp_path / "hello"
    binary.write_bytes(hello.elf(architecture))
    binary.chmod(0o755)
    assert subprocess.run([emulator, binary], check=True, capture_output=True, text=True).stdout == hello.TEXT


def test_truncation_is_told_with_the_entry(target: Path) -> None:
    data = Tar().add("first", b"x" * 600).add("second", b"y" * 600).bytes()
    with pytest.raises(BadArchive, match="in entry 'second'"):
        apply(data[: data.index(b"y" * 600) + 100], target)
