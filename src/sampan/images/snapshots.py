"""Snapshots: one directory a layer, keyed by chainID, and a writable upper directory for each container.

Words: a *layer* snapshot is committed, read-only and shared; an *active* snapshot belongs to one key (a container id) and
is an upper and a work directory over a parent chain. Layout under the data root::

    layers/<chainid hex>/diff     the layer's files, whiteouts in overlayfs form
    layers/<chainid hex>/parent   the parent's chainID, absent at the bottom
    snapshots/<key>/upper, work   the container's writable layer
    snapshots/<key>/parent
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Change:
    """One row of `docker diff`. `kind`: 0 modified, 1 added, 2 deleted. `path` is absolute inside the container."""

    kind: int
    path: str


class Snapshots:
    """All methods block (call in a thread)."""

    def prepare(self, key: str, parent: str | None) -> None:
        """A new active snapshot over the chain that ends at `parent` (a chainID; None for an empty root). Idempotent."""
        raise NotImplementedError

    def mount(self, key: str, target: Path) -> None:
        """Mounts the active snapshot's root at `target` (made when missing). Idempotent: already mounted is fine."""
        raise NotImplementedError

    def unmount(self, target: Path) -> None:
        raise NotImplementedError

    def mount_chain(self, chain_id: str | None, target: Path) -> None:
        """Mounts an image's root read-only (for `--mount type=image`, copy-up, builds)."""
        raise NotImplementedError

    def remove(self, key: str) -> None:
        """Deletes an active snapshot. It must not be mounted."""
        raise NotImplementedError

    def upper(self, key: str) -> Path:
        """The writable directory: what the container changed."""
        raise NotImplementedError

    def usage(self, key: str) -> int:
        """Bytes in the writable layer (`SizeRw`)."""
        raise NotImplementedError

    def changes(self, key: str) -> list[Change]:
        """What differs from the image, in path order (`GET /containers/{id}/changes`)."""
        raise NotImplementedError

    def keys(self) -> list[str]:
        """Every active snapshot's key: for reconciling."""
        raise NotImplementedError
