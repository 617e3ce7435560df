"""A /dev/shm that other containers can share (`--ipc shareable`): a tmpfs in the bundle, bound into each of them."""

from __future__ import annotations

from pathlib import Path

from sampan.linux import mounts


def path(bundle: Path) -> Path:
    return bundle / "shm"


def mount(bundle: Path, size: int) -> Path:
    """Mounts it (blocks; idempotent) and returns its directory. `size` is bytes."""
    target = path(bundle)
    target.mkdir(parents=True, exist_ok=True)
    if not mounts.is_mounted(target):
        attributes = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
        mounts.mount("tmpfs", target, {"mode": "1777", "size": str(size)}, source="shm", attributes=attributes)
    return target


def unmount(bundle: Path) -> None:
    """Idempotent. Containers that joined keep theirs."""
    target = path(bundle)
    if target.exists():
        mounts.unmount(target, detach=True)
        target.rmdir()
