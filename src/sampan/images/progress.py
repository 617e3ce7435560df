"""Docker's progress messages, as JSON objects. The docker CLI draws them from `progressDetail`; `progress` is for
older clients.

Source: moby pkg/jsonmessage (the shape), distribution/xfer (the statuses).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Progress = Callable[[dict[str, Any]], None]
"""Receives one message: {"status", "id", "progressDetail": {"current", "total"}}. Called on the event loop."""

_INTERVAL = 0.1
_WIDTH = 50


def human_size(value: float) -> str:
    """`1.984MB`: four significant digits, powers of 1000 (go-units HumanSize)."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 1000 or unit == "PB":
            break
        value /= 1000
    return f"{value:.4g}{unit}"


def bar(current: int, total: int) -> str:
    """`[=====>      ]  1.2MB/3.4MB`."""
    if total <= 0:
        return f"{human_size(current):>8}"
    done = min(int(current / total * 100) // 2, _WIDTH)
    return f"[{'=' * done}>{' ' * (_WIDTH - done)}] {human_size(current):>8}/{human_size(total)}"


def short(digest: str) -> str:
    """The 12 hex digits that stand for a layer or an image."""
    return digest.partition(":")[2][:12]


def message(status: str, id: str = "") -> dict[str, Any]:
    return {"status": status, "id": id} if id else {"status": status}


class LayerProgress:
    """One layer's line. Counted steps are thinned to about ten a second; the last one always shows."""

    def __init__(self, show: Progress, digest: str) -> None:
        self._show, self._id = show, short(digest)
        self._last = 0.0

    def step(self, status: str) -> None:
        """`Pulling fs layer`, `Download complete`, `Pull complete`, `Already exists` …"""
        self._show({"status": status, "progressDetail": {}, "id": self._id})

    def count(self, status: str, current: int, total: int) -> None:
        """`Downloading`, `Extracting`, `Loading layer`."""
        now = time.monotonic()
        if now - self._last < _INTERVAL and current < total:
            return
        self._last = now
        detail = {"current": current, "total": total}
        self._show({"status": status, "progressDetail": detail, "progress": bar(current, total), "id": self._id})
