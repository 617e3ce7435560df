"""A Debian instead of busybox: over a hundred MiB and thousands of files of the machine the tests run on (in CI a fresh
debootstrap), with everything a layer can hold, from Sampan to CNCF's registry, through skopeo, and back."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import CONTROL, SAMPAN, Daemon
from support.images import BUSYBOX
from support.registry import Registry

pytestmark = [
    pytest.mark.skipif(bool(CONTROL), reason="looks at our containers from the host"),
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed"),
]

BYTES, FILES = 120 << 20, 6000
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep


def furnish(root: Path) -> None:
    """Copies of the machine's own files, up to the limits, and what a distribution rarely has."""
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    size = files = 0
    for source in ("/usr/bin", "/usr/share/perl", "/usr/share/zoneinfo", "/usr/lib/python3", "/usr/lib", "/usr/share"):
        for directory, below, names in os.walk(source):
            below.sort()
            target = root / directory[1:]
            target.mkdir(parents=True, exist_ok=True)
            for name in sorted(names):
                found = os.lstat(f"{directory}/{name}")
                if size + found.st_size > BYTES or files >= FILES or (target / name).exists():
                    continue
                if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                    shutil.copy2(f"{directory}/{name}", target / name, follow_symlinks=False)
                    size, files = size + found.st_size, files + 1
    odd = root / "odd"
    odd.mkdir(mode=0o2775)
    with (odd / "sparse").open("wb") as file:
        file.seek(20 << 20)
        file.write(b"end")
        file.truncate(40 << 20)
    os.link(odd / "sparse", odd / "hard")
    os.setxattr(odd / "sparse", "user.note", b"hi")
    (odd / "suid").write_bytes(b"x")
    os.chown(odd / "suid", 1234, 4321)
    (odd / "suid").chmod(0o6755)
    (odd / "capable").write_bytes(b"x")
    os.setxattr(odd / "capable", "security.capability", CAPABILITY)
    os.mknod(odd / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(odd / "fifo")
    deep = odd / Path(*["long" * 20 + str(n) for n in range(6)])
    deep.mkdir(parents=True)
    (deep / ("n" * 250)).write_text("deep")
    (odd / "link").symlink_to("l" * 300)
    (odd / "weird\n\udcff").symlink_to("nowhere")


def inventory(root: Path) -> dict[bytes, tuple[object, ...]]:
    """All that is below `root`, except what the engine puts into a container."""
    found: dict[bytes, tuple[object, ...]] = {}
    top = os.fsencode(root)
    for directory, below, names in os.walk(top):
        if directory == top:
            below[:] = [name for name in below if name in (b"bin", b"usr", b"odd")]
            names = []
        for name in below + names:
            path = os.path.join(directory, name)  # noqa: PTH118 (bytes)
            state = os.lstat(path)
            mode = state.st_mode
            content: object = ""
            if stat.S_ISREG(mode):
                with open(path, "rb") as file:  # noqa: PTH123
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            elif stat.S_ISLNK(mode):
                content = os.readlink(path)  # noqa: PTH115 (bytes)
            keys = os.listxattr(path, follow_symlinks=False)
            xattrs = {key: os.getxattr(path, key, follow_symlinks=False) for key in keys if "overlay" not in key}
            links = state.st_nlink if stat.S_ISREG(mode) else 0
            found[os.path.relpath(path, top)] = (
                oct(mode), state.st_uid, state.st_gid, int(state.st_mtime), links, state.st_rdev, content, str(xattrs)
            )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[bytes, tuple[object, ...]]]]:
    """(the tar, what must be in the container)."""
    place = tmp_path_factory.mktemp("debian")
    furnish(place / "root")
    archive = place / "root.tar"
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-S"]
    subprocess.run(["tar", "-C", place / "root", *options, "-cf", archive, "."], check=True)
    yield archive, inventory(place / "root")
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def cncf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("cncf"))
    yield registry
    registry.stop()


def test_a_debian_comes_back_as_it_went(
    daemon: Daemon, cncf: Registry, debian: tuple[Path, dict[bytes, tuple[object, ...]]]
) -> None:
    if daemon.client == SAMPAN:
        pytest.skip("about the engine: once is enough")
    archive, expected = debian
    assert len(expected) > 2000
    name, other = f"{cncf.address}/debian/whole:1", f"{cncf.address}/debian/zstd:1"
    daemon.ok("import", str(archive), name)
    daemon.ok("push", "-q", name)
    carry = ["skopeo", "copy", "-q", "--format", "oci", "--dest-compress-format", "zstd"]
    where = ["--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{name}", f"docker://{other}"]
    subprocess.run([*carry, *where], check=True)
    daemon.ok("rmi", name)
    for came in (name, other):
        daemon.ok("pull", "-q", came)
        container = daemon.ok("run", "-d", came, "/bin/busybox", "sleep", "1000")
        try:
            pid = daemon.ok("inspect", "-f", "{{.State.Pid}}", container)
            assert inventory(Path(f"/proc/{pid}/root")) == expected
            sparse = Path(f"/proc/{pid}/root/odd/sparse").stat()
            assert sparse.st_blocks * 512 < 1 << 20, "holes stay holes"
        finally:
            daemon.ok("rm", "-f", container)
        daemon.ok("rmi", came)
