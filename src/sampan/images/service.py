"""The front door of images: one method an operation of the Engine API, in domain terms. The work is in the modules
it imports.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import functools
import logging
import platform as machine
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sampan import __version__
from sampan.errors import InvalidParameter, NotFound
from sampan.images import (
    building,
    converting,
    hello,
    listing,
    manifests,
    platforms,
    references,
    saving,
    usage,
    variants,
)
from sampan.images.building import SealedLayer
from sampan.images.compressing import Compressed
from sampan.images.converting import Converter, Packaged
from sampan.images.digests import digest
from sampan.images.holdings import Holdings, Lease
from sampan.images.importing import Importer
from sampan.images.listing import HistoryRow, ImageSummary
from sampan.images.loading import Loader, chunks
from sampan.images.manifests import Descriptor
from sampan.images.model import Image, ImageConfig, Platform, RunConfig
from sampan.images.progress import LayerProgress, Progress, message
from sampan.images.pulling import Puller
from sampan.images.pushing import Pusher
from sampan.images.references import Reference
from sampan.images.remote import archives, asking
from sampan.images.remote.auth import RegistryAuth
from sampan.images.remote.client import Remote
from sampan.images.remote.hosts import Hosts
from sampan.images.removal import Deleted, Removal
from sampan.images.snapshots import Snapshots
from sampan.images.usage import Item, Usage
from sampan.images.variants import Variant
from sampan.settings import Settings
from sampan.store import Database, Documents, EventLog

__all__ = ["Deleted", "HistoryRow", "ImageSummary", "Images", "Progress", "RegistryAuth"]

log = logging.getLogger(__name__)

_SYNC_AFTER = 30.0
_FOLD_AFTER = 90.0

_Rows = list[ImageSummary]
_Steps = list[HistoryRow]
_Gone = list[Deleted]
_Texts = list[str]


class Images:
    """`users` is asked before an image is deleted: given an image id, it returns (container id, running) of those
    that use it. `engine` sets it, so that this room needs not know containers."""

    users: Callable[[str], list[tuple[str, bool]]] = staticmethod(lambda image_id: [])

    def __init__(
        self,
        data_root: Path,
        database: Database,
        events: EventLog,
        snapshots: Snapshots,
        insecure_registries: Sequence[str] = (),
        mirrors: Sequence[str] = (),
        keepers: Sequence[Callable[[], Iterable[str]]] = (),
        nondistributable: Sequence[str] = (),
    ) -> None:
        """Opens the room and puts right what a crash left: half-made files go, orphans are collected. `keepers`: see
        `Holdings`; those whose things must outlive this first collection."""
        self._events = events
        self.holdings = Holdings(data_root, database, snapshots, keepers)
        self._catalog = self.holdings.catalog
        self.hosts = Hosts(insecure_registries, mirrors, nondistributable=nondistributable)
        agent = f"sampan/{__version__} os/linux arch/{platforms.host().architecture} kernel/{machine.release()}"
        self.remote = Remote(self.hosts, agent)
        self._compressed = Documents(database, "compressed-layer", Compressed)
        self._loader = Loader(self.holdings)
        self._importer = Importer(self.holdings)
        self._syncing: asyncio.Future[None] | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self.reconcile()
        with contextlib.suppress(RuntimeError):  # no event loop: a tool that only looks
            self._sync_later()
            self._loop = asyncio.get_running_loop()
            self.holdings.content.on_unfold = self._fold_again

    def configure(self, settings: Settings) -> None:
        """What the daemon's settings say of registries and transfers, at the start and after a reload."""
        self.hosts.configure(
            settings.insecure_registries, settings.registry_mirrors, settings.nondistributable_registries
        )
        self.remote.working.clear()
        self.remote.attempts = max(settings.max_download_attempts, 1)
        self.holdings.transfers.limit(settings.max_concurrent_downloads, settings.max_concurrent_uploads)

    def reconcile(self) -> None:
        """After a crash; also safe at any other time. Blocks for as long as there is something to put right."""
        self.holdings.reconcile()

    def expire(self, unused: float, size: int) -> None:
        """From now on, images nobody uses are removed by these limits (see `expiry`)."""
        from sampan.images.expiry import Expiry

        self._expiring = asyncio.get_running_loop().create_task(Expiry(self, unused, size).forever(), name="image gc")

    async def close(self) -> None:
        """Does not wait for the disk: what is not on it yet is marked so, and trusted until the next boot."""
        self.holdings.interrupt()
        if self._expiring is not None:
            self._expiring.cancel()
            await asyncio.gather(self._expiring, return_exceptions=True)
        await self.remote.close()
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        if self._syncing is not None:
            await asyncio.gather(self._syncing, return_exceptions=True)
        await asyncio.to_thread(self.holdings.close)

    # -- looking -----------------------------------------------------------------------------------
    def resolve(self, ref: str, platform: Platform | None = None) -> Image:
        """By reference, digest, id or unique id prefix. Raises `NotFound("No such image: …:latest")` as Docker
        words it.
        """
        id = self._catalog.find(ref)
        if platform is not None:
            self._catalog.require_platform(ref, id, platform)
        return self._catalog.image(id)

    def list(
        self, all: bool = False, filters: Mapping[str, Sequence[str]] | None = None, shared_size: bool = False
    ) -> _Rows:
        """Newest first; from memory, so cheap enough for the event loop with hundreds of images."""
        shared = listing.shared_size(self._catalog) if shared_size else None
        return listing.rows(self._catalog, all, filters or {}, shared)

    def described(self, id: str) -> Descriptor:
        """The descriptor of the manifest or index that an image's name stands for. Reads a small file."""
        return variants.described(self.holdings, id)

    def variants(self, id: str) -> builtins.list[Variant]:
        """Every platform behind an image's name, here or not. Reads small files."""
        return variants.variants(self.holdings, id)

    def history(self, ref: str) -> _Steps:
        return listing.history(self._catalog, self.holdings.snapshots, self._catalog.find(ref))

    def last_tagged(self, id: str) -> int:
        """`Metadata.LastTagTime`, nanoseconds since the epoch; 0 for never."""
        record = self._catalog.images.get(id)
        return record.tagged if record is not None else 0

    def used(self, id: str) -> None:
        """Notes that something is started from an image."""
        self._catalog.use(id, time.time_ns())

    def last_used(self, id: str) -> float:
        """Seconds since the epoch. An image of before this was noted counts from now on."""
        record = self._catalog.images.get(id)
        if record is not None and not record.used:
            self._catalog.use(id, time.time_ns())
        return record.used / 1e9 if record is not None else 0.0

    def parent(self, id: str) -> str:
        """The image this one was committed or built on here; "" when there is none."""
        record = self._catalog.images.get(id)
        return record.parent if record is not None else ""

    def usage(self) -> Usage:
        """What all images take on the disk, layers and blobs. Blocks: looks at each blob's file."""
        return usage.usage(self.holdings)

    def items(self) -> dict[Item, int]:
        """Every layer and blob of an image, with the bytes it takes. Blocks as `usage` does."""
        return {item: size for needed in usage.everything(self.holdings).values() for item, size in needed.items()}

    def given_back(self, items: dict[Item, int]) -> int:
        """Bytes of those that are gone now. What a build's cache or a registry needs is still there."""
        return usage.given_back(self.holdings, items)

    def layers_size(self) -> int:
        """Bytes of all unpacked layers, each once."""
        sizes = {
            link: size
            for id, record in self._catalog.images.items()
            for link, size in zip(self._catalog.chain(id), record.layer_sizes, strict=False)
        }
        return sum(sizes.values())

    # -- changing ----------------------------------------------------------------------------------
    def tag(self, ref: str, repository: str, tag: str) -> None:
        """`repository` may carry the tag itself when `tag` is empty."""
        id = self._catalog.find(ref)
        name = references.parse(repository)
        if name.digest:
            raise InvalidParameter("refusing to create a tag with a digest reference")
        name = name.with_tag(tag) if tag else name.tagged()
        if is_ambiguous(name):
            raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")
        target, exact = self._target(ref, id)
        self._catalog.name(name, id, target, time.time_ns(), exact)
        self._announce("tag", id, name.familiar)

    def _target(self, ref: str, id: str) -> tuple[str, bool]:
        """What the new name stands for: the same manifest or index the old one stood for (and whether as it is)."""
        if not self._catalog.is_id(ref, id):
            known = self._catalog.references.get(references.parse(ref).key())
            if known is not None:
                return known.target, known.exact
        return self._catalog.images[id].manifest, False

    def delete(self, ref: str, force: bool = False, prune: bool = True) -> _Gone:
        """Blocks while layers are removed: call it in a thread."""
        labels: dict[str, dict[str, str]] = {}
        if ref:
            id = self._catalog.find(ref)
            labels[id] = self._labels(id)

        def announce(action: str, id: str) -> None:
            # Once it is gone Docker no longer knows its labels.
            attributes = {} if action == "delete" else labels.get(id) or self._labels(id)
            self._events.publish("image", action, id, {**attributes, "name": id})

        return Removal(self.holdings, self.users, announce).run(ref, force, prune)

    def _labels(self, id: str) -> dict[str, str]:
        return dict(self._catalog.config(id).config.labels or {}) if id in self._catalog.images else {}

    def _announce(self, action: str, id: str, name: str = "") -> None:
        self._events.publish("image", action, id, {**self._labels(id), "name": name or id})

    # -- registries --------------------------------------------------------------------------------
    async def pull(
        self,
        reference: str,
        platform: Platform | None,
        auth: RegistryAuth | None,
        progress: Progress,
        *,
        referrers: bool = False,
    ) -> None:
        """`reference` has a tag or digest; with neither, every tag of the repository is pulled. Progress as Docker
        draws it. `referrers`: with the artefacts that refer to it.
        """
        parsed = references.parse(reference)
        if parsed.name == hello.REFERENCE.name and parsed.tagged() == hello.REFERENCE:
            await self._pull_hello(platform, progress)
        elif parsed.name_only:
            tags = await self.remote.repository(parsed, auth).tags()
            changed = [await self._pull(parsed.with_tag(tag), platform, auth, progress, referrers) for tag in tags]
            progress(_status(parsed, any(changed)))
        else:
            progress(_status(parsed, await self._pull(parsed, platform, auth, progress, referrers)))
            self._warn_of_platform(parsed, platform, progress)
        self._sync_later()

    async def pull_beside(
        self, reference: Reference, platform: Platform, auth: RegistryAuth | None, progress: Progress
    ) -> str:
        """The image for a platform, without moving the name, which here is another platform's. Returns its id; it has
        its own manifest's digest for a name."""
        id, _ = await self.puller.pull(reference, platform, auth, progress, beside=True)
        self._sync_later()
        return id

    def beside(self, ref: str, platform: Platform) -> str | None:
        """The id of what `pull_beside` has brought; None when it is not here."""
        known = self._catalog.references.get(references.parse(ref).tagged().key())
        if known is None or not self.holdings.content.exists(known.target):
            return None
        index = manifests.decode(self.holdings.content.read(known.target))
        if not isinstance(index, manifests.Index):
            return None
        with contextlib.suppress(NotFound):
            wanted = manifests.select(index, platform).digest
            return next((id for id, record in self._catalog.images.items() if record.manifest == wanted), None)
        return None

    async def _pull(
        self,
        reference: Reference,
        platform: Platform | None,
        auth: RegistryAuth | None,
        progress: Progress,
        referrers: bool,
    ) -> bool:
        """True when the name is new or moved."""
        id, changed = await self.puller.pull(reference, platform, auth, progress, referrers=referrers)
        attributes = {**self._labels(id), "name": reference.familiar_name}
        self._events.publish("image", "pull", reference.familiar, attributes)
        return changed

    def _warn_of_platform(self, reference: Reference, platform: Platform | None, progress: Progress) -> None:
        """An image that exists for one platform only is pulled whatever was asked for; dockerd says so last."""
        known = self._catalog.references.get(reference.key())
        if platform is None or known is None:
            return
        try:
            self._catalog.require_platform(reference.familiar, known.image, platform)
        except NotFound as error:
            progress(message(f"WARNING: {error.message}"))

    async def _pull_hello(self, platform: Platform | None, progress: Progress) -> None:
        """The image that ships inside the package: the flow of a pull, without a registry."""
        index, _ = hello.build()
        known = self._catalog.references.get(hello.REFERENCE.key())
        progress(message(f"Pulling from {hello.NAME}", hello.REFERENCE.tag))
        before = known.image if known is not None else ""
        data = hello.archive(hello.layout(platform or platforms.host()))

        async def archive() -> AsyncIterator[bytes]:
            for chunk in chunks(data):
                yield chunk

        loaded = await self._loader.load(archive(), lambda _: None, True, platform)
        id = loaded[0][0]
        line = LayerProgress(progress, self._catalog.images[id].layers[0])
        line.step("Pull complete" if before != id else "Already exists")
        target = digest(index)
        self._catalog.name(hello.REFERENCE._replace(tag="", digest=target), id, target, time.time_ns())
        progress(message(f"Digest: {target}"))
        progress(_status(hello.REFERENCE, before != id))
        attributes = {**self._labels(id), "name": hello.NAME}
        self._events.publish("image", "pull", hello.REFERENCE.familiar, attributes)

    async def push(
        self, reference: str, platform: Platform | None, auth: RegistryAuth | None, progress: Progress
    ) -> None:
        """`reference` with a tag, or without: then every tag of the repository. Progress as Docker draws it."""
        parsed = references.parse(reference)
        if parsed.digest:
            raise InvalidParameter("cannot push a digest reference")
        progress(message(f"The push refers to repository [{parsed.name}]"))
        tags = [name for name in self._tags_of(parsed) if not parsed.tag or name.tag == parsed.tag]
        if not self._tags_of(parsed):
            raise NotFound(f"An image does not exist locally with the tag: {parsed.familiar_name}")
        if not tags:
            raise NotFound(f"tag does not exist: {parsed.familiar}")
        pusher = Pusher(self.holdings, self.remote, self._compressed)
        for name in tags:
            record = self._catalog.references[name.key()]
            await pusher.push(name, platform, auth, progress)
            attributes = {**self._labels(record.image), "name": name.familiar_name}
            self._events.publish("image", "push", name.familiar, attributes)

    def _tags_of(self, repository: Reference) -> builtins.list[Reference]:
        names = (references.parse(key) for key in self._catalog.references if key.startswith(f"{repository.name}:"))
        return sorted(name for name in names if name.name == repository.name and not name.digest)

    async def login(self, auth: RegistryAuth) -> str:
        """Tries credentials at their registry; returns the identity token it gives for them, or "". Raises
        `Unauthorized`.
        """
        return await asking.login(self.remote, auth)

    async def distribution(self, reference: str, auth: RegistryAuth | None) -> asking.Distribution:
        """What a name stands for at its registry."""
        return await asking.inspect(self.remote, references.parse(reference).tagged(), auth)

    async def search(
        self, term: str, limit: int, filters: Mapping[str, Sequence[str]], auth: RegistryAuth | None
    ) -> builtins.list[asking.SearchResult]:
        """Images that a registry has: Docker Hub's, or those of the registry the term names."""
        return await asking.search(self.remote, term, limit, filters, auth)

    # -- archives ----------------------------------------------------------------------------------
    async def load(
        self,
        archive: AsyncIterator[bytes],
        progress: Progress,
        quiet: bool = False,
        platform: Platform | None = None,
    ) -> _Texts:
        """docker-archive or OCI layout, plain, gzip or zstd. Tells `Loaded image: …` through `progress`, and
        returns those names or ids.
        """
        told: list[str] = []
        for id, names in await self._loader.load(archive, progress, quiet, platform):
            for name in names:
                progress({"stream": f"Loaded image: {name}\n"})
            if not names:
                progress({"stream": f"Loaded image ID: {id}\n"})
            told += names or [id]
            self._announce("load", id)
        self._sync_later()
        return told

    def save(self, refs: _Texts, platform: Platform | None = None) -> AsyncIterator[bytes]:
        """One tar that is both a docker-archive and an OCI layout. Unknown names raise here, before the first byte."""
        chosen = saving.choose(self._catalog, refs, platform)
        for image in chosen:
            self._announce("save", image.id)
        return saving.archive(self.holdings, chosen)

    def download(self, url: str, progress: Progress) -> AsyncIterator[bytes]:
        """An archive to import, from the web."""
        return archives.archive(self.remote, url, progress)

    # -- making ------------------------------------------------------------------------------------
    async def import_archive(
        self,
        archive: AsyncIterator[bytes],
        reference: str = "",
        config: RunConfig | None = None,
        comment: str = "",
        platform: Platform | None = None,
    ) -> str:
        """`POST /images/create?fromSrc=-`: a root file system as an image. Returns its id."""
        name = references.parse(reference).tagged() if reference else None
        comment = comment or "Imported from -"
        id = await self._importer.import_archive(archive, name, config or RunConfig(), comment, platform)
        if name is not None:
            self._announce("tag", id, name.familiar)
        self._announce("import", id)
        self._sync_later()
        return id

    async def commit(
        self,
        base: str | None,
        snapshot: str,
        config: RunConfig,
        *,
        reference: str = "",
        author: str = "",
        comment: str = "",
        created_by: str = "",
        empty: bool = False,
    ) -> str:
        """A container's snapshot on top of image `base` (an id) as a new image. Returns its id. The caller
        announces `commit`.
        """
        name = references.parse(reference).tagged() if reference else None
        id = await self._importer.commit(
            base,
            snapshot,
            config,
            reference=name,
            author=author,
            comment=comment,
            created_by=created_by,
            empty=empty,
        )
        if name is not None:
            self._announce("tag", id, name.familiar)
        self._sync_later()
        return id

    async def publish(
        self, image: ImageConfig, layers: Sequence[SealedLayer], names: Sequence[Reference], lease: Lease
    ) -> str:
        """An image of layers that are here (a build's), under all its names. Returns its id."""
        id = await asyncio.to_thread(building.publish, self.holdings, image, layers, names, lease)
        for name in names:
            self._announce("tag", id, name.familiar)
        self._sync_later()
        return id

    def package(self, id: str, packaged: Packaged, names: Sequence[Reference]) -> None:
        """Names an image that is here after what it was packaged as."""
        converting.keep(self._catalog, id, packaged, names)
        for name in names:
            self._announce("tag", id, name.familiar)
        self._sync_later()

    @functools.cached_property
    def puller(self) -> Puller:
        """With the one `fetcher` of the daemon: whoever needs a layer that is coming waits for it."""
        return Puller(self.holdings, self.remote, self._compressed)

    @functools.cached_property
    def converter(self) -> Converter:
        return Converter(self.holdings, self._compressed)

    # -- the disk ----------------------------------------------------------------------------------
    def _sync_later(self, seconds: float = _SYNC_AFTER) -> None:
        """Half a minute after a pull, load or commit: by then the kernel has written most of it out by itself. Others
        that follow meanwhile do not put it off: where there is always another one it would never be.
        """
        if self._sync_timer is None:
            self._sync_timer = asyncio.get_running_loop().call_later(seconds, self._sync_now)

    def _fold_again(self) -> None:
        """In any thread: a blob was made again for somebody who reads it."""
        self._loop.call_soon_threadsafe(self._sync_later, _FOLD_AFTER)

    def _sync_now(self) -> None:
        self._sync_timer = None
        if self._syncing is not None and not self._syncing.done():
            self._sync_later()  # folding many layers takes longer than the pause
            return
        self._syncing = asyncio.get_running_loop().run_in_executor(None, self._sync)

    def _sync(self) -> None:
        self.holdings.sync()
        self.holdings.fold()


def _status(reference: Reference, changed: bool) -> dict[str, str]:
    outcome = "Downloaded newer image for" if changed else "Image is up to date for"
    return message(f"Status: {outcome} {reference.familiar}")


def is_ambiguous(name: Reference) -> bool:
    """`sha256:abc` would look like a digest."""
    return name.familiar_name in ("sha256", "sha384", "sha512")
