"""Which blobs of the engine's content store the built-in registry has. Light: every daemon makes one, registry or not,
so that switching the registry off for a while loses nothing."""

from __future__ import annotations

from pathlib import Path

from sampan.registry.digests import of_hex


class Linked:
    """Digests that repositories of the registry in a data root have or had; a keeper of `Holdings`."""

    def __init__(self, data_root: Path) -> None:
        self._digests: set[str] = set()
        records = data_root / "registry" / "records" / "repositories"
        for path in records.glob("**/_layers/*") if records.is_dir() else ():
            self._digests.add(of_hex(path.name))
        for path in records.glob("**/_manifests/*") if records.is_dir() else ():
            self._digests.add(of_hex(path.name))

    def __call__(self) -> set[str]:
        return self._digests.copy()  # at once: called from other threads

    def add(self, digest: str) -> None:
        self._digests.add(digest)

    def discard(self, digest: str) -> None:
        self._digests.discard(digest)
