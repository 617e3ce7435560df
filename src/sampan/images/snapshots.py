"""Snapshots: one directory a layer, keyed by chainID, and a writable upper directory for each container.

Words: a *layer* snapshot is committed, read-only and shared; an *active* snapshot belongs to one key (a container id)
and is an upper and a work directory over a parent chain. Layout under the data root::

    layers/<chainid hex>/diff     the layer's files, whiteouts in overlayfs form
    layers/<chainid hex>/parent   symlink whose text is the parent's chainID, absent at the bottom
    layers/<chainid hex>/size     symlink whose text is the bytes of its files
    layers/<chainid hex>/diffid   symlink whose text is the layer's diffID
    layers/<chainid hex>/unsynced symlink whose text is the boot it was unpacked in, until its files are on the disk
    layers/.new-*, .gone-*        being made, being removed: never seen by anyone else, dropped at start
    snapshots/<key>/upper, work   the container's writable layer
    snapshots/<key>/parent        as above

Walk: `new_layer()` gives a directory to unpack into; `commit` renames it to its chainID, so nothing half-made can be
mounted.
`prepare(key, parent)` makes the container's directories, `mount` stacks them, `changes` compares, `remove` forgets.
"""

# An os call costs a third of pathlib's, and these are hot.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH110, PTH115, PTH116, PTH211

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sampan.errors import NotFound, SampanError
from sampan.images import diff
from sampan.images.content import DiskFull, durability, hex_of
from sampan.images.diff import Change
from sampan.linux import mounts, trees

__all__ = ["Change", "NewLayer", "Snapshots"]

# What is in an upper directory must mean the same without the kernel's bookkeeping, because `diff` reads it directly.
_OPTIONS: dict[str, str | None] = {"redirect_dir": "nofollow", "metacopy": "off", "index": "off"}


class NewLayer:
    """A layer being unpacked into `diff`. A context manager: without `commit` everything goes."""

    def __init__(self, layers: Path) -> None:
        self._layers = layers
        self._directory = layers / f".new-{os.urandom(8).hex()}"
        self.diff = self._directory / "diff"
        self._directory.mkdir(mode=0o700)
        self.diff.mkdir()
        self.diff.chmod(0o755)

    def commit(self, chain_id: str, parent: str | None, size: int, diff_id: str) -> None:
        """Publishes it. When the layer is there already (two pulls at once), this copy is dropped."""
        if parent is not None:
            os.symlink(parent, self._directory / "parent")
        os.symlink(diff_id, self._directory / "diffid")
        os.symlink(str(size), self._directory / "size")
        durability.mark(self._directory / "unsynced")
        try:
            self._directory.rename(self._layers / hex_of(chain_id))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise

    def __enter__(self) -> NewLayer:
        return self

    def __exit__(self, *exception: object) -> None:
        trees.remove(self._directory)


class Snapshots:
    """All methods block (call in a thread); those of the hot path need well under a millisecond."""

    def __init__(self, data_root: Path) -> None:
        self._layers = data_root / "layers"
        self._active = data_root / "snapshots"
        for directory in (self._layers, self._active):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o700)
            trees.spread(directory)
        self._chains: dict[str, tuple[Path, ...]] = {}

    # -- layers ------------------------------------------------------------------------------------
    def has_layer(self, chain_id: str) -> bool:
        return os.path.exists(self._layers / hex_of(chain_id))

    def new_layer(self) -> NewLayer:
        return NewLayer(self._layers)

    def layer(self, chain_id: str) -> Path:
        """The directory of a layer's files."""
        return self._layers / hex_of(chain_id) / "diff"

    def layer_size(self, chain_id: str) -> int:
        """Bytes of a layer's files."""
        size = _read_link(self._layers / hex_of(chain_id) / "size")
        if size is None:
            raise NotFound(f"layer {chain_id} does not exist")
        return int(size)

    def layers(self) -> list[str]:
        """Every layer's chainID."""
        return [f"sha256:{entry.name}" for entry in os.scandir(self._layers) if len(entry.name) == 64]

    def durable_layers(self) -> dict[str, list[str]]:
        """diffID: chainIDs, of layers whose files are on the disk."""
        found: dict[str, list[str]] = {}
        for chain_id in self.layers():
            directory = self._layers / hex_of(chain_id)
            diff_id = _read_link(directory / "diffid")
            if diff_id is not None and not os.path.lexists(directory / "unsynced"):
                found.setdefault(diff_id, []).append(chain_id)
        return found

    def detach_layer(self, chain_id: str) -> Path | None:
        """Takes a layer that nothing names any more out of sight, at once; the caller deletes what is returned with
        `purge`.

        A crash in between leaves rubbish for the next start, not half a layer.
        """
        self._chains.clear()
        return _detach(self._layers / hex_of(chain_id), self._layers)

    def lowers(self, chain_id: str | None) -> tuple[Path, ...]:
        """The layer directories of a chain, topmost first. Raises `NotFound` when one is missing."""
        if chain_id is None:
            return ()
        cached = self._chains.get(chain_id)
        if cached is None:
            cached = tuple(self._follow(chain_id))
            self._chains[chain_id] = cached
        return cached

    def _follow(self, chain_id: str) -> Iterator[Path]:
        link: str | None = chain_id
        while link is not None:
            directory = self._layers / hex_of(link)
            if not directory.exists():
                raise NotFound(f"layer {link} does not exist")
            yield directory / "diff"
            link = _read_link(directory / "parent")

    def marks(self) -> list[Path]:
        """The marks of layers that are not known to be on the disk (see `durability`)."""
        found = (self._layers / entry.name / "unsynced" for entry in os.scandir(self._layers))
        return [mark for mark in found if os.path.lexists(mark)]

    def clean(self) -> list[str]:
        """Drops what a killed daemon left half-made, and layers a power cut may have left incomplete; returns
        those chainIDs.
        """
        for room in (self._layers, self._active):
            for entry in os.scandir(room):
                if entry.name.startswith("."):
                    purge(Path(entry.path))
        dropped = []
        for chain_id in self.layers():
            if durability.is_doubtful(self._layers / hex_of(chain_id) / "unsynced"):
                purge(self.detach_layer(chain_id))
                dropped.append(chain_id)
        return dropped

    # -- active snapshots --------------------------------------------------------------------------
    def prepare(self, key: str, parent: str | None) -> None:
        """A new active snapshot over the chain that ends at `parent` (a chainID; None for an empty root).
        Idempotent.
        """
        lowers = self.lowers(parent)
        final = self._directory(key)
        if os.path.exists(final):
            return
        directory = f"{self._active}/.new-{key}-{os.urandom(4).hex()}"
        try:
            self._make(directory, lowers, parent)
            os.rename(directory, final)
        except OSError:  # a full disk
            purge(Path(directory))
            raise
        # The image may have been deleted between the look and the rename; from here on its layers stay.
        if lowers and not os.path.exists(lowers[0]):
            self.remove(key)
            raise NotFound(f"layer {parent} does not exist")

    @staticmethod
    def _make(directory: str, lowers: Sequence[Path], parent: str | None) -> None:
        os.mkdir(directory, 0o700)
        os.mkdir(f"{directory}/work", 0o700)
        upper = f"{directory}/upper"
        os.mkdir(upper, 0o755)
        # "/" of the container is the upper directory itself: it takes the image's owner and mode.
        if lowers:
            found = os.stat(lowers[0])
            if found.st_uid or found.st_gid:
                os.chown(upper, found.st_uid, found.st_gid)
            os.chmod(upper, found.st_mode & 0o7777)
        if parent is not None:
            os.symlink(parent, f"{directory}/parent")

    def _directory(self, key: str) -> str:
        if not key or "/" in key or key.startswith("."):
            raise ValueError(f"bad snapshot key {key!r}")
        return f"{self._active}/{key}"

    def parent(self, key: str) -> str | None:
        """The chainID an active snapshot stands on."""
        return _read_link(self._directory(key) + "/parent")

    def mount(self, key: str, target: Path, *, volatile: bool = False) -> None:
        """Mounts the active snapshot's root at `target` (made when missing). Idempotent: already mounted is fine.

        `volatile` leaves out all syncing, also at unmount, where overlayfs otherwise writes the whole disk's dirty
        pages out: for containers that `--rm` removes at their end anyway, whatever a power cut does to them.
        """
        directory = self._directory(key)
        if not os.path.exists(directory):
            raise NotFound(f"snapshot {key} does not exist")
        os.makedirs(target, exist_ok=True)
        if mounts.is_mounted(target):
            return
        # Left by a volatile mount that was not unmounted: the kernel would refuse the directory
        # (Documentation/filesystems/overlayfs).
        with contextlib.suppress(FileNotFoundError):
            trees.remove(Path(f"{directory}/work/work/incompat"))
        lowers = self.lowers(self.parent(key)) or (self._empty(),)
        options = {**_OPTIONS, "volatile": None} if volatile else _OPTIONS
        mounts.overlay(lowers, target, upper=f"{directory}/upper", work=f"{directory}/work", options=options)
        # overlayfs that cannot make its work directory says so in the kernel's log and mounts read-only.
        if os.statvfs(target).f_flag & os.ST_RDONLY:
            mounts.unmount(target)
            probe = Path(f"{directory}/work/probe")
            probe.mkdir()  # tells the reason: no space, or a disk that failed
            probe.rmdir()
            raise DiskFull("the writable layer cannot be mounted")

    def unmount(self, target: Path) -> None:
        """Busy files keep what they have open; the path is free at once."""
        try:
            mounts.unmount(target)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            mounts.unmount(target, detach=True)

    def mount_chain(self, chain_id: str | None, target: Path) -> None:
        """Mounts an image's root read-only (for `--mount type=image`, copy-up, builds)."""
        os.makedirs(target, exist_ok=True)
        if mounts.is_mounted(target):
            return
        lowers = self.lowers(chain_id) or (self._empty(),)
        if len(lowers) == 1:
            mounts.bind(lowers[0], target, recursive=False, attributes=mounts.RDONLY)
        else:
            mounts.overlay(lowers, target, options=_OPTIONS, attributes=mounts.RDONLY)

    def _empty(self) -> Path:
        """What stands below a container whose image has no layer: overlayfs wants at least one."""
        empty = self._layers / "empty"
        empty.mkdir(mode=0o755, exist_ok=True)
        return empty

    def remove(self, key: str) -> None:
        """Deletes an active snapshot. It must not be mounted. Gone already is fine."""
        purge(_detach(Path(self._directory(key)), self._active))

    def upper(self, key: str) -> Path:
        """The writable directory: what the container changed."""
        return Path(self._directory(key)) / "upper"

    def usage(self, key: str) -> int:
        """Bytes in the writable layer (`SizeRw`)."""
        upper = self.upper(key)
        return trees.size(upper) - _mtab_size(upper)

    def changes(self, key: str) -> list[Change]:
        """What differs from the image, in tree order (`GET /containers/{id}/changes`)."""
        return diff.changes(self.upper(key), self.lowers(self.parent(key)))

    def keys(self) -> list[str]:
        """Every active snapshot's key: for reconciling."""
        return [entry.name for entry in os.scandir(self._active) if not entry.name.startswith(".")]

    def parents(self) -> set[str]:
        """The chainIDs that active snapshots stand on: their layers must stay."""
        return {parent for key in self.keys() if (parent := self.parent(key)) is not None}


def _read_link(path: Path | str) -> str | None:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


def _detach(directory: Path, room: Path) -> Path | None:
    """Renames out of sight; None when it is gone already."""
    gone = room / f".gone-{os.urandom(8).hex()}"
    try:
        directory.rename(gone)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SampanError(f"cannot remove {directory}: {error.strerror}") from None
    return gone


def purge(gone: Path | None) -> None:
    """Deletes what was detached. A file that a mount keeps busy is left for the next start."""
    if gone is not None:
        with contextlib.suppress(OSError):
            trees.remove(gone)


def _mtab_size(upper: Path) -> int:
    """The link that starting a container makes; Docker keeps it in a layer of its own, which nobody counts."""
    target = _read_link(upper / "etc/mtab")
    return len(target) if target == "/proc/mounts" else 0
