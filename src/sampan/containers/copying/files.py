"""Everything the API does with a container's files, on the event loop: cp both ways, diff, export.

The blocking work is `archive`, `export` and `snapshots.changes`; here are the threads, the lock and the streams. A
running container needs no lock. Of a stopped one the lock is held while its files are changed, so that it does not
start meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from sampan.containers.context import Context
from sampan.containers.copying import archive
from sampan.containers.copying.archive import Download, PathStat
from sampan.containers.copying.export import Export
from sampan.containers.copying.outgoing import out_of_threads
from sampan.containers.copying.views import Views
from sampan.containers.model import Container
from sampan.containers.roster import Record
from sampan.containers.spec import etc_files
from sampan.containers.spec.networking import CONTAINER
from sampan.errors import NotFound
from sampan.images.diff import Change
from sampan.images.pipe import feed


class Files:
    def __init__(self, context: Context) -> None:
        self._context = context
        scratch = context.settings.exec_root / "views"
        self._views = Views(scratch, context.volumes, context.images, context.snapshots, self._etc)

    def _etc(self, container: Container) -> Mapping[str, Path]:
        """/etc/hosts and the like of its last run; a container in another's network has that one's."""
        mode = container.host_config.network_mode
        owner = container.id
        if mode.startswith(CONTAINER):
            try:
                owner = self._context.roster.find(mode.removeprefix(CONTAINER)).id
            except NotFound:
                return {}
        made = etc_files.of(self._context.directory(owner))
        users = [{"destination": point.destination} for point in container.mounts]
        return {destination: source for destination, source in made.mounts(users).items() if source.exists()}

    def _find(self, ref: str) -> tuple[Record, Container, Path]:
        record = self._context.roster.find(ref)
        return record, record.container, self._context.bundle(record.container).rootfs

    async def stat(self, ref: str, path: str) -> PathStat:
        """Raises `NotFound("Could not find the file …")`."""
        record, container, rootfs = self._find(ref)
        async with _unless_running(record):
            return await asyncio.to_thread(archive.stat_path, self._views, container, rootfs, path, ref)

    async def download(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """A tar of the file or directory, and what it is."""
        record, container, rootfs = self._find(ref)
        async with _unless_running(record):
            found = await asyncio.to_thread(Download, self._views, container, rootfs, path, ref)
        self._context.publish(container, "archive-path")
        return found.stat, out_of_threads(iter(found), found.close)

    async def upload(
        self, ref: str, path: str, chunks: AsyncIterator[bytes], *, keep_kind: bool = False, copy_owner: bool = False
    ) -> None:
        """Unpacks a tar (compressed or not) into the directory `path`; see `archive.put_archive`."""
        record, container, rootfs = self._find(ref)

        def work(tar: Iterable[bytes]) -> None:
            archive.put_archive(
                self._views, container, rootfs, path, ref, tar, keep_kind=keep_kind, copy_owner=copy_owner
            )

        async with _unless_running(record):
            await self._context.whole(feed(chunks, work))
        self._context.publish(container, "extract-to-dir")

    async def changes(self, ref: str) -> list[Change]:
        """What differs from the image, in path order."""
        record = self._context.roster.find(ref)
        return await asyncio.to_thread(self._context.snapshots.changes, record.id)

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        record, container, rootfs = self._find(ref)
        async with _unless_running(record):
            found = await asyncio.to_thread(Export, self._views, container, rootfs)
        self._context.publish(container, "export")
        return out_of_threads(iter(found), found.close)


class _unless_running(AsyncExitStack):
    """Holds the record's lock unless the container runs."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record

    async def __aenter__(self) -> _unless_running:
        await super().__aenter__()
        if not self._record.container.state.running:
            await self.enter_async_context(self._record.lock)
        return self
