"""A registry's things in a directory: blobs in a content store, records and uploads as files beside them.

Layout::

    blobs/ ingest/ unsynced/           the content store (images.content)
    registry/records/<key>             written beside, fsynced, renamed
    registry/uploads/<id>              the bytes that arrived so far
    registry/sha512/<hex>              blobs that were pushed by their sha512
    registry/aside/<hex>               blobs that collection is about to remove

Several processes on one host may serve one directory: what they share is changed by rename, and an upload is written
under flock. A digest is counted while bytes arrive; a process that did not see them all reads the file again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sampan.images.content import CHUNK, ContentStore
from sampan.registry.chunks import write_behind
from sampan.registry.counting import Counted, CountedUploads
from sampan.registry.digests import algorithm_of, hex_of, of_file, of_hex
from sampan.registry.storage import DigestWrong, Entry, OffsetWrong, UploadBusy, UploadUnknown

_TEMPORARY = ".new."


class Directory:
    """See the module; implements `Storage`."""

    def __init__(self, root: Path, content: ContentStore | None = None) -> None:
        self.content = content or ContentStore(root)
        self._records = root / "registry" / "records"
        self._uploads = root / "registry" / "uploads"
        self._aside = root / "registry" / "aside"
        self._others = root / "registry" / "sha512"
        self._counting = CountedUploads()
        for directory in (self._records, self._uploads, self._aside, self._others):
            directory.mkdir(parents=True, exist_ok=True)

    # -- records -----------------------------------------------------------------------------------
    async def get(self, key: str) -> bytes | None:
        try:
            with open(self._records / key, "rb", buffering=0) as file:  # noqa: ASYNC230, PTH123 (small and local)
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    async def put(self, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._put, key, data)

    def _put(self, key: str, data: bytes) -> None:
        path = self._records / key
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, data)

    async def modified(self, key: str) -> float | None:
        try:
            return os.stat(self._records / key).st_mtime  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def delete(self, key: str) -> bool:
        try:
            (self._records / key).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    async def entries(self, prefix: str) -> AsyncIterator[Entry]:
        for entry in await asyncio.to_thread(lambda: list(_walk(self._records / prefix, prefix))):
            yield entry

    # -- blobs -------------------------------------------------------------------------------------
    def _blob(self, digest: str) -> Path:
        """The content store knows sha256 only."""
        return self.content.path(digest) if digest.startswith("sha256:") else self._others / hex_of(digest)

    async def blob_size(self, digest: str) -> int | None:
        try:
            return os.stat(self._blob(digest)).st_size  # noqa: PTH116
        except FileNotFoundError:
            return None

    def blob_path(self, digest: str) -> Path | None:
        return self._blob(digest)

    def open_blob(self, digest: str) -> int:
        """A descriptor to read it from. May block."""
        return os.open(self._blob(digest), os.O_RDONLY | os.O_CLOEXEC)

    async def read_blob(self, digest: str, start: int, stop: int) -> AsyncIterator[bytes]:
        descriptor = await asyncio.to_thread(self.open_blob, digest)
        try:
            while start < stop and (
                data := await asyncio.to_thread(os.pread, descriptor, min(CHUNK, stop - start), start)
            ):
                start += len(data)
                yield data
        finally:
            os.close(descriptor)

    async def put_blob(self, digest: str, data: bytes) -> None:
        if digest.startswith("sha256:"):
            await asyncio.to_thread(self.content.put, data, digest, True)
        else:
            await asyncio.to_thread(_write_whole, self._blob(digest), data)

    async def blobs(self) -> AsyncIterator[Entry]:
        for entry in await asyncio.to_thread(lambda: list(self._blobs())):
            yield entry

    def _blobs(self) -> Iterator[Entry]:
        for digest in (
            *self.content.digests(),
            *(of_hex(path.name) for path in self._others.iterdir() if not path.name.startswith(_TEMPORARY)),
        ):
            try:
                found = self._blob(digest).stat()
            except FileNotFoundError:
                continue
            yield Entry(digest, found.st_size, found.st_mtime)

    async def set_aside(self, digest: str) -> str | None:
        aside = self._aside / hex_of(digest)
        try:
            self._blob(digest).rename(aside)
        except FileNotFoundError:
            return None
        os.utime(aside)
        return str(aside)

    async def restore(self, aside: str, digest: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            Path(aside).rename(self._blob(digest))

    async def purge(self, aside: str) -> None:
        await asyncio.to_thread(Path(aside).unlink, missing_ok=True)

    async def asides(self, before: float) -> list[tuple[str, str]]:
        with os.scandir(self._aside) as entries:
            return [(entry.path, of_hex(entry.name)) for entry in entries if entry.stat().st_mtime < before]

    # -- uploads -----------------------------------------------------------------------------------
    async def begin(self, upload: str) -> None:
        os.close(os.open(self._uploads / upload, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        self._counting.keep(upload, Counted())

    async def upload_size(self, upload: str) -> int:
        try:
            return os.stat(self._uploads / upload).st_size  # noqa: PTH116
        except FileNotFoundError:
            raise UploadUnknown(upload) from None

    async def append(self, upload: str, offset: int | None, chunks: AsyncIterator[bytes]) -> int:
        descriptor = self._lock(upload)
        try:
            size = os.fstat(descriptor).st_size
            if offset is not None and offset != size:
                raise OffsetWrong(size)
            counted = self._counting.take(upload, size)
            try:
                return await write_behind(chunks, lambda data, at: _write(descriptor, data, at, counted), size)
            finally:  # a body that broke off counts as far as it came
                self._counting.keep(upload, counted)
        finally:
            os.close(descriptor)

    def _lock(self, upload: str) -> int:
        """The upload, ours alone until it is closed."""
        try:
            descriptor = os.open(self._uploads / upload, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise UploadUnknown(upload) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UploadBusy(upload) from None
        return descriptor

    async def publish(self, upload: str, digest: str) -> int:
        descriptor = self._lock(upload)
        try:
            return await asyncio.to_thread(self._publish, descriptor, upload, digest)
        finally:
            os.close(descriptor)

    def _publish(self, descriptor: int, upload: str, digest: str) -> int:
        size = os.fstat(descriptor).st_size
        counted = self._counting.take(upload, size)
        if counted is not None and digest.startswith("sha256:"):
            found = counted.digest
        else:
            found = _digest(descriptor, algorithm_of(digest))
        if found != digest:
            (self._uploads / upload).unlink(missing_ok=True)
            raise DigestWrong(found)
        os.fdatasync(descriptor)
        (self._uploads / upload).replace(self._blob(digest))
        return size

    async def abandon(self, upload: str) -> None:
        self._counting.take(upload, -1)
        try:
            (self._uploads / upload).unlink()
        except FileNotFoundError:
            raise UploadUnknown(upload) from None

    async def old_uploads(self, before: float) -> list[str]:
        return await asyncio.to_thread(self._old_uploads, before)

    def _old_uploads(self, before: float) -> list[str]:
        with os.scandir(self._uploads) as entries:
            return [entry.name for entry in entries if entry.stat(follow_symlinks=False).st_mtime < before]

    # -- who shares the place ----------------------------------------------------------------------
    def linked(self, digest: str) -> None:
        """Nobody else deletes here."""

    async def close(self) -> None:
        """Nothing is open."""


def _walk(directory: Path, prefix: str) -> Iterator[Entry]:
    pending = [(os.fspath(directory), prefix)]
    while pending:
        path, key = pending.pop()
        try:
            entries = list(os.scandir(path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, f"{key}{entry.name}/"))
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not entry.name.startswith(_TEMPORARY):
                yield Entry(key + entry.name, found.st_size, found.st_mtime)
            elif found.st_mtime < time.time() - 3600:  # of a process that was killed
                Path(entry.path).unlink(missing_ok=True)


def _write_whole(path: Path, data: bytes) -> None:
    """Beside it first, then in its place, and on the disk."""
    temporary = path.with_name(f"{_TEMPORARY}{os.urandom(8).hex()}")
    try:
        with temporary.open("xb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)  # its commit carries the blobs that were renamed before
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(descriptor: int, algorithm: str) -> str:
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return of_file(file, algorithm)


def _write(descriptor: int, data: bytes, at: int, counted: Counted | None) -> int:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
    if counted is not None:
        counted.add(data)
    return at
