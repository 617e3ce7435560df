"""Volumes in Docker's JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sampan.api.timestamps import rfc3339_seconds
from sampan.volumes import Volume


def inspect(volume: Volume, mountpoint: Path, usage: tuple[int, int] | None = None) -> dict[str, Any]:
    """`usage` is (containers that mount it, bytes), which only `GET /system/df` shows."""
    view: dict[str, Any] = {
        "CreatedAt": rfc3339_seconds(volume.created),
        "Driver": volume.driver,
        "Labels": volume.labels or ({ANONYMOUS: ""} if volume.anonymous else None),
        "Mountpoint": str(mountpoint),
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }
    if usage is not None:
        view["UsageData"] = {"RefCount": usage[0], "Size": usage[1]}
    return view


ANONYMOUS = "com.docker.volume.anonymous"
