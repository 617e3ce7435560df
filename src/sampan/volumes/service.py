"""The front door of volumes: named and anonymous directories that outlive containers.

Layout: `volumes/<name>/_data` under the data root, as Docker lays it out.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Volume(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    """The stored document. `created` is nanoseconds since the epoch."""

    name: str = ""
    driver: str = "local"
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    created: int = 0
    anonymous: bool = False


class Volumes:
    """`users` is set by `engine`: container ids that mount a volume, by name."""

    def create(
        self,
        name: str = "",
        driver: str = "local",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Volume:
        """Idempotent for a name that exists with the same driver and options. An empty name: an anonymous volume."""
        raise NotImplementedError

    def get(self, name: str) -> Volume:
        """Raises `NotFound("get …: no such volume")`."""
        raise NotImplementedError

    def all(self) -> list[Volume]:
        raise NotImplementedError

    def remove(self, name: str, force: bool = False) -> None:
        """`Conflict("remove …: volume is in use - [ids]")`."""
        raise NotImplementedError

    def mountpoint(self, name: str) -> Path:
        """The directory as `inspect` shows it (present on disk)."""
        raise NotImplementedError

    def acquire(self, name: str, container_id: str) -> Path:
        """The directory to mount into a container; a driver-option mount (tmpfs, nfs, bind) is made first. Blocks."""
        raise NotImplementedError

    def release(self, name: str, container_id: str) -> None:
        raise NotImplementedError
