"""The content store: blobs by digest. A blob that exists is whole.

Layout under the data root::

    blobs/sha256/<hex>     verified, read-only by custom; the registry's own bytes
    ingest/<hex>           a blob that is still arriving; kept after a broken download, to be resumed
    unsynced/<hex>         the blob is not known to be on the disk yet (see `durability`)
    recipes/<hex>          the blob can be made again from its unpacked layer (see `folding`): its file may be gone

Life of a blob: `ingest(digest)` opens (or reopens) the partial file under an exclusive lock, bytes are written and
hashed as they arrive, `commit` verifies digest and size and renames. Everything here blocks: call it in a
thread.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from sampan.errors import InvalidParameter, NotFound, SampanError
from sampan.images.content import durability
from sampan.images.content.recipes import Recipes
from sampan.images.digests import digest as digest_of

log = logging.getLogger(__name__)

CHUNK = 1 << 20
_PARTIAL_KEPT = 7 * 86400
_SMALLEST_FOLDED = 64 << 10
_UNFOLDED_KEPT = 60.0
"""Seconds that the file of an unfolded blob stays: who asked for it may ask again."""


class DigestMismatch(SampanError):
    """The bytes are not what their digest says. The message names the blob."""

    def __init__(self, expected: str, found: str, size: int) -> None:
        super().__init__(f"unexpected content of blob {expected}: got {found} after {size} bytes")


class DiskFull(SampanError):
    """No space, or no quota, left where the data root is."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"no space left on device: {detail}")


class IngestBusy(SampanError):
    """Another writer has this blob in hand. The message names the blob."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"blob {digest} is being fetched by another operation")


def hex_of(digest: str) -> str:
    """The hex part of a sha256 digest, safe as a file name; other algorithms are refused."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or value.strip("0123456789abcdef"):
        raise InvalidParameter(f"unsupported digest {digest!r}: only sha256 is supported")
    return value


class ContentStore:
    """Blobs of one data root."""

    def __init__(self, data_root: Path) -> None:
        self._blobs = data_root / "blobs" / "sha256"
        self._ingest = data_root / "ingest"
        self.root = data_root
        self._unsynced = data_root / "unsynced"
        for directory in (self._blobs, self._ingest, self._unsynced):
            directory.mkdir(parents=True, exist_ok=True)
        self.recipes = Recipes(data_root)
        self.layer_of: Callable[[str], Path | None] = lambda digest: None
        """Where the files of a folded blob's layer are; set by `Holdings`."""
        self.on_unfold: Callable[[], None] = lambda: None
        """Hears, in any thread, that a blob is a file again and may be folded later."""
        self._unfolding = threading.Lock()

    def path(self, digest: str) -> Path:
        """The blob's file. A folded blob has none: `open` and `read` are for everybody, this is for who looks."""
        return self._blobs / hex_of(digest)

    def exists(self, digest: str) -> bool:
        return os.path.exists(self.path(digest)) or digest in self.recipes.sizes  # noqa: PTH110 (hot: no Path machinery)

    def size(self, digest: str) -> int:
        """Raises `NotFound`."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            pass
        try:
            return self.recipes.sizes[digest]
        except KeyError:
            raise NotFound(f"content {digest} not found") from None

    def stored(self, digest: str) -> int:
        """Bytes it takes on the disk; 0 when it is not here."""
        try:
            return self.path(digest).stat().st_size + self.recipes.stored(digest)
        except FileNotFoundError:
            return self.recipes.stored(digest)

    def read(self, digest: str, limit: int = 8 << 20) -> bytes:
        """A small blob (manifest, config) whole; `limit` guards against mistaken use on layers."""
        if self.size(digest) > limit:
            raise InvalidParameter(f"content {digest} is larger than {limit} bytes")
        descriptor = self.open(digest)
        try:
            return os.read(descriptor, limit)
        finally:
            os.close(descriptor)

    def open(self, digest: str) -> int:
        """A descriptor to read it from; it stays readable when the blob is deleted meanwhile. Blocks while a folded
        blob is made again.
        """
        path = self.path(digest)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
        self._unfold(digest)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"content {digest} not found") from None

    # -- folding -----------------------------------------------------------------------------------
    def _unfold(self, digest: str) -> None:
        """Makes a folded blob's file again, verified like any other that arrives."""
        with self._unfolding:
            if digest not in self.recipes.sizes or os.path.exists(self.path(digest)):  # noqa: PTH110
                return
            from sampan.images.content import folding
            from sampan.images.tar import packing

            layer = self.layer_of(digest)
            if layer is None:
                raise SampanError(f"blob {digest} cannot be made again: its layer is gone")
            with self.ingest_unnamed() as ingest:
                for data in packing.gathered(folding.blob(self.recipes.path(digest), layer), CHUNK):
                    ingest.write(data)
                if (found := ingest.verify()) != digest:
                    raise DigestMismatch(digest, found, ingest.offset)
                ingest.commit()
        self.on_unfold()

    def is_foldable(self, digest: str) -> bool:
        """There is a file, large enough to be worth it, on the disk, and nobody asked for it just now."""
        try:
            found = self.path(digest).stat()
        except FileNotFoundError:
            return False
        if os.path.lexists(self._unsynced / hex_of(digest)):
            return False
        return found.st_size >= _SMALLEST_FOLDED and (
            digest not in self.recipes.sizes or found.st_mtime < time.time() - _UNFOLDED_KEPT
        )

    def let_go(self, digest: str) -> Path | None:
        """Takes the file of a blob that has a recipe out of sight; as `detach`."""
        return self._detach(digest) if digest in self.recipes.sizes else None

    def put(self, data: bytes, expected: str = "", synced: bool = False) -> str:
        """Stores a small blob; returns its digest. Raises `DigestMismatch` when it is not `expected`. `synced`: it is
        on the disk when this returns.
        """
        digest = digest_of(data)
        if expected and digest != expected:
            raise DigestMismatch(expected, digest, len(data))
        if self.exists(digest):
            return digest
        temporary = self._ingest / f"{hex_of(digest)}.{os.getpid()}.{os.urandom(4).hex()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            _write(descriptor, data)
            if synced:
                os.fsync(descriptor)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self.adopt(temporary, digest, synced)
        return digest

    def adopt(self, file: Path, digest: str, synced: bool = False) -> None:
        """Makes a file on this filesystem a blob; the caller has verified it. `synced`: its bytes are on the disk."""
        if not synced:
            durability.mark(self._unsynced / hex_of(digest))
        file.replace(self.path(digest))

    def ingest(self, digest: str, size: int = -1) -> Ingest:
        """Begins or resumes a blob. Raises `IngestBusy` while another writer has it."""
        return Ingest(self._ingest / hex_of(digest), self.path(digest), self._unsynced, digest, size)

    def ingest_unnamed(self) -> Ingest:
        """A blob whose digest will be known at its end (`load`, `commit`, a build)."""
        return Ingest(self._ingest / f"new.{os.urandom(8).hex()}", self._blobs, self._unsynced, "", -1)

    def detach(self, digest: str) -> Path | None:
        """Takes a blob out of sight at once; the caller unlinks what is returned (large files take their time).
        None: gone already.
        """
        self.recipes.drop(digest)
        return self._detach(digest)

    def _detach(self, digest: str) -> Path | None:
        gone = self._ingest / f"gone.{os.urandom(8).hex()}"
        try:
            self.path(digest).rename(gone)
        except FileNotFoundError:
            return None
        return gone

    def digests(self) -> Iterator[str]:
        with os.scandir(self._blobs) as entries:
            for entry in entries:
                yield f"sha256:{entry.name}"
        yield from [digest for digest in list(self.recipes.sizes) if not self.path(digest).exists()]

    def clean(self) -> None:
        """Removes what a killed daemon left half-written. Partial downloads (named by their digest) stay a week: a pull
        resumes them.
        """
        oldest = time.time() - _PARTIAL_KEPT
        with os.scandir(self._ingest) as entries:
            for entry in entries:
                if len(entry.name) != 64 or entry.stat(follow_symlinks=False).st_mtime < oldest:
                    Path(entry.path).unlink(missing_ok=True)
        for mark in self.marks():
            if not (self._blobs / mark.name).exists():
                durability.unmark(mark)
            elif durability.is_doubtful(mark) and not self._is_right(mark.name):
                log.error("blob sha256:%s was damaged by a power failure and is dropped", mark.name)
                (self._blobs / mark.name).unlink()

    def _is_right(self, name: str) -> bool:
        with (self._blobs / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == name

    def marks(self) -> list[Path]:
        """The marks of blobs that are not known to be on the disk."""
        return list(self._unsynced.iterdir())


class Ingest:
    """A blob being written. Left without `commit`, a named one stays as a partial to resume, an unnamed one goes."""

    def __init__(self, temporary: Path, final: Path, marks: Path, digest: str, size: int) -> None:
        self._temporary, self._final, self._marks = temporary, final, marks
        self.digest, self.expected_size = digest, size
        self._hash = hashlib.sha256()
        self.offset = 0
        """Bytes written (and hashed) so far."""
        self._descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise IngestBusy(digest) from None

    @property
    def partial(self) -> int:
        """Bytes an earlier, broken download left; `replay` returns them."""
        return os.fstat(self._descriptor).st_size

    def replay(self) -> Iterator[bytes]:
        """Hashes and yields what is there already, then writing goes on behind it."""
        while chunk := os.pread(self._descriptor, CHUNK, self.offset):
            self._hash.update(chunk)
            self.offset += len(chunk)
            yield chunk

    def write(self, data: bytes) -> None:
        if self.expected_size >= 0 and self.offset + len(data) > self.expected_size:
            self.discard()
            raise SampanError(
                f"blob {self.digest} is longer than the {self.expected_size} bytes its descriptor promises"
            )
        self._hash.update(data)
        _write(self._descriptor, data, self.offset)
        self.offset += len(data)

    def restart(self) -> None:
        """Forgets everything written: the source could not continue where it broke off."""
        os.ftruncate(self._descriptor, 0)
        self._hash, self.offset = hashlib.sha256(), 0

    def verify(self) -> str:
        """The digest, when it and the size are what was promised. A mismatch drops the partial file: it cannot be
        resumed.
        """
        found = f"sha256:{self._hash.hexdigest()}"
        if self.expected_size >= 0 and self.offset != self.expected_size:
            raise SampanError(
                f"blob {self.digest} is truncated: got {self.offset} of the {self.expected_size} bytes "
                "its descriptor promises"
            )
        if self.digest and found != self.digest:
            self.discard()
            raise DigestMismatch(self.digest, found, self.offset)
        return found

    def commit(self, before: Callable[[str], None] | None = None) -> str:
        """Verifies and renames; `before` hears the digest just before the blob can be seen (to hold it
        against collection).
        """
        found = self.verify()
        os.ftruncate(self._descriptor, self.offset)
        if before is not None:
            before(found)
        durability.mark(self._marks / hex_of(found))
        self._temporary.replace(self._final if self.digest else self._final / hex_of(found))
        self.digest = found
        self._close()
        return found

    def discard(self) -> None:
        self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0 and not self.digest:
            self.discard()
        self._close()


def _write(descriptor: int, data: bytes, offset: int = 0) -> None:
    view = memoryview(data)
    while view:
        try:
            written = os.pwrite(descriptor, view, offset)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("the image does not fit on the data root's disk") from error
            raise
        view, offset = view[written:], offset + written
