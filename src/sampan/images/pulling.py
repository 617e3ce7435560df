"""`pull`: from a reference to an image that is whole here. Messages, statuses and their order are dockerd's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from sampan.errors import InvalidParameter, SampanError
from sampan.images import manifests, platforms, referring
from sampan.images.compressing import Compressed
from sampan.images.digests import chain_ids
from sampan.images.fetching import Fetcher, Wanted
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Index, Manifest
from sampan.images.model import ImageConfig, Platform
from sampan.images.progress import LayerProgress, Progress, message
from sampan.images.references import Reference
from sampan.images.remote import RegistryAuth, Remote, RemoteManifest, Repository
from sampan.store import Documents

_NESTING = 3
"""How many indexes may stand above a manifest; real ones have one."""


class Puller:
    """Pulls for the daemon. Lives on the event loop."""

    def __init__(self, holdings: Holdings, remote: Remote, compressed: Documents[Compressed]) -> None:
        self._holdings = holdings
        self._remote = remote
        self._compressed = compressed
        self.fetcher = Fetcher(holdings)

    async def pull(
        self,
        reference: Reference,
        platform: Platform | None,
        auth: RegistryAuth | None,
        progress: Progress,
        *,
        beside: bool = False,
        referrers: bool = False,
    ) -> tuple[str, bool]:
        """(the image's id, is it new under this name?). `reference` has a tag or a digest. `beside`: the name stays
        what it is, and the image is only known by its manifest's digest. `referrers`: see `referring`."""
        repository = self._remote.repository(reference, auth)
        version = reference.digest or reference.tag
        async with self._holdings.lease() as lease:
            top = await self._top(repository, reference, version, lease)
            label = reference.tag or reference.digest
            progress(message(f"Pulling from {reference.path}", label))
            lease.hold(top.digest)
            await asyncio.to_thread(self._holdings.content.put, top.data, top.digest)
            chosen, manifest = await self._select(repository, top, platform or platforms.host(), lease)
            id, config = await self._config(repository, manifest, chosen, lease)
            # Before `_whole` looks, or an `rmi` under way could take the layers of an image that is written down again.
            lease.hold(*chain_ids(config.rootfs.diff_ids), *(layer.digest for layer in manifest.layers))
            if not self._whole(id, manifest):
                await self._layers(repository, manifest, config, progress)
            kept: list[str] = []
            if referrers:
                subjects = dict.fromkeys((top.digest, chosen.digest))
                kept = await referring.fetch(repository, subjects, self._holdings, lease, progress)
            name = reference._replace(tag="", digest=chosen.digest) if beside else reference
            target = chosen.digest if beside else top.digest
            changed, replaced = self._publish(name, id, manifest, config, chosen.digest, target, kept)
            lease.hold(*replaced)  # collected with the lease, when nothing else names it
        progress(message(f"Digest: {top.digest}"))
        return id, changed

    async def _top(self, repository: Repository, reference: Reference, version: str, lease: Lease) -> RemoteManifest:
        """What the name stands for: from here when the registry says it is unchanged (a HEAD costs no rate limit)."""
        known = self._holdings.catalog.references.get(reference.key())
        if known is not None:
            lease.hold(known.target)  # before looking: an `rmi` may be under way
        if known is not None and self._holdings.content.exists(known.target):
            digest = reference.digest or await repository.manifest_digest(version)
            if digest == known.target:
                data = await asyncio.to_thread(self._holdings.content.read, digest)
                return RemoteManifest(data, digest, "")
        return await repository.manifest(version)

    async def _select(
        self, repository: Repository, top: RemoteManifest, wanted: Platform, lease: Lease
    ) -> tuple[RemoteManifest, Manifest]:
        """The manifest for a platform, through at most a few indexes."""
        current = top
        for _ in range(_NESTING):
            decoded = manifests.decode(current.data, current.media_type, f"manifest {current.digest}")
            if isinstance(decoded, Manifest):
                return current, decoded
            current = await self._child(repository, decoded, wanted, lease)
        raise InvalidParameter(f"manifest {top.digest}: indexes are nested too deeply")

    async def _child(self, repository: Repository, index: Index, wanted: Platform, lease: Lease) -> RemoteManifest:
        entry = manifests.select(index, wanted)
        lease.hold(entry.digest)
        if self._holdings.content.exists(entry.digest):
            data = await asyncio.to_thread(self._holdings.content.read, entry.digest)
            return RemoteManifest(data, entry.digest, entry.media_type)
        child = await repository.manifest(entry.digest)
        if len(child.data) != entry.size:
            raise SampanError(f"manifest {entry.digest} has {len(child.data)} bytes, its index promises {entry.size}")
        await asyncio.to_thread(self._holdings.content.put, child.data, entry.digest)
        return RemoteManifest(child.data, entry.digest, child.media_type)

    async def _config(
        self, repository: Repository, manifest: Manifest, chosen: RemoteManifest, lease: Lease
    ) -> tuple[str, ImageConfig]:
        name = f"manifest {chosen.digest}"
        layers = manifests.image_layers(manifest, name)
        id = manifest.config.digest
        lease.hold(id)
        if self._holdings.content.exists(id):
            data = await asyncio.to_thread(self._holdings.content.read, id)
        else:
            data = await repository.small_blob(manifest.config, manifests.CONFIG_LIMIT)
        config = manifests.decode_config(data, f"config {id}")
        if config.os and config.os != "linux":
            raise InvalidParameter(
                f'image operating system "{config.os}" cannot be used on this platform: '
                "operating system is not supported"
            )
        if len(config.rootfs.diff_ids) != len(layers):
            raise InvalidParameter(
                f"{name}: {len(layers)} layers do not fit the {len(config.rootfs.diff_ids)} diffIDs of config {id}"
            )
        await asyncio.to_thread(self._holdings.content.put, data, id)
        return id, config

    def _whole(self, id: str, manifest: Manifest) -> bool:
        """Here already, with these very blobs, or with the plain layers that a push from here made them of: nothing to
        do and nothing to say.
        """
        record = self._holdings.catalog.images.get(id)
        wanted = [layer.digest for layer in manifest.layers]
        return record is not None and wanted in (record.layers, [self._as_pushed(digest) for digest in record.layers])

    def _as_pushed(self, digest: str) -> str:
        known = self._compressed.get(digest)
        return digest if known is None else known.digest

    async def _layers(
        self, repository: Repository, manifest: Manifest, config: ImageConfig, progress: Progress
    ) -> None:
        """All layers at once (the fetcher bounds it). Each is a directory of its own, so none waits for the one
        below.
        """
        chain = chain_ids(config.rootfs.diff_ids)
        missing: list[tuple[Wanted, LayerProgress]] = []
        for position, descriptor in enumerate(manifest.layers):
            line = LayerProgress(progress, descriptor.digest)
            if self._holdings.snapshots.has_layer(chain[position]) and self._holdings.content.exists(descriptor.digest):
                line.step("Already exists")
                continue
            line.step("Pulling fs layer")
            parent = chain[position - 1] if position else None
            missing.append((Wanted(descriptor, config.rootfs.diff_ids[position], chain[position], parent), line))
        for _, line in missing[3:]:
            line.step("Waiting")
        try:
            async with asyncio.TaskGroup() as group:
                for wanted, line in missing:
                    group.create_task(self.fetcher.layer(repository, wanted, line))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _publish(
        self,
        reference: Reference,
        id: str,
        manifest: Manifest,
        config: ImageConfig,
        manifest_digest: str,
        target: str,
        kept: Sequence[str],
    ) -> tuple[bool, list[str]]:
        """Writes the image down under its tag and its digest. (is the name new or moved?, digests it stood for
        before)
        """
        catalog = self._holdings.catalog
        by_digest = reference._replace(tag="", digest=target)
        name = reference if reference.digest else reference.tagged()
        known = catalog.references.get(name.key())
        changed = known is None or known.image != id
        if self._whole(id, manifest):  # as it is: another packaging of the same layers is not here
            record = msgspec.structs.replace(catalog.images[id])
        else:
            record = self._holdings.record(
                manifest_digest, [layer.digest for layer in manifest.layers], chain_ids(config.rootfs.diff_ids)
            )
        record.extra = list(dict.fromkeys((*record.extra, *kept)))
        if changed and not reference.digest:
            record.tagged = time.time_ns()
        names = [(by_digest, target)] if reference.digest else [(name, target), (by_digest, target)]
        replaced = catalog.put(id, record, names)
        if known is not None and known.target != target:
            replaced.add(known.target)
        return changed, list(replaced)
