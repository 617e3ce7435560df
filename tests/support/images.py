"""Test images, made here: a docker-archive of one busybox layer, no registry and no engine needed."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _directory(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


@cache
def busybox_layer() -> bytes:
    """A root file system of the host's static busybox and its applets, as a tar."""
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("bin", "etc", "root", "var", "proc", "sys", "dev", "usr", "usr/bin"):
            _directory(tar, name)
        _directory(tar, "tmp", 0o1777)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in applets:
            if applet != "busybox":
                _link(tar, f"bin/{applet}", "busybox")
        passwd = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
        _add(tar, "etc/passwd", passwd + b"nobody:x:65534:65534:nobody:/:/bin/false\n")
        _add(tar, "etc/group", b"root:x:0:\nuser:x:1000:\nstaff:x:50:user\nnogroup:x:65534:\n")
    return buffer.getvalue()


def docker_archive(tags: Sequence[str], layers: Sequence[bytes], config: dict[str, Any]) -> bytes:
    """A docker-archive (`docker load` reads it) of uncompressed layers; `config` is the image's `config` object."""
    diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    image = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(len(layers))],
    }
    document = json.dumps(image).encode()
    name = hashlib.sha256(document).hexdigest()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        paths = []
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            path = diff_id.removeprefix("sha256:") + "/layer.tar"
            if path not in paths:
                _add(tar, path, layer)
            paths.append(path)
        _add(tar, f"{name}.json", document)
        manifest = [{"Config": f"{name}.json", "RepoTags": list(tags), "Layers": paths}]
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return buffer.getvalue()


@cache
def busybox_archive() -> bytes:
    """`busybox:latest` as a docker-archive."""
    return docker_archive(["busybox:latest"], [busybox_layer()], {"Cmd": ["sh"], "Env": [PATH]})
