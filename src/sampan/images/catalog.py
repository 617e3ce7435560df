"""The catalogue: which images and references this machine has. SQLite is the truth, memory a cache of it.

An *image record* says what makes up one image (blobs, layers, sizes); its id is the digest of its config. A
*reference record* maps a
canonical name with a tag or a digest to an image id and to the manifest or index that was pulled under that name.
Thread-safe: `delete` runs in a thread while the event loop lists, so the dictionaries are replaced, never changed.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterable

import msgspec

from sampan.errors import NotFound
from sampan.images import manifests, platforms, references
from sampan.images.content import ContentStore
from sampan.images.digests import chain_ids
from sampan.images.model import Image, ImageConfig, Platform
from sampan.images.references import Reference
from sampan.store import Database, Documents

_USE_STEP = 3600 * 10**9


class ImageRecord(msgspec.Struct, omit_defaults=True):
    """One image. Times are nanoseconds since the epoch."""

    manifest: str
    """Digest of its manifest."""
    layers: list[str] = []
    """Digests of its layer blobs, bottom first."""
    layer_sizes: list[int] = []
    """Unpacked bytes of each layer."""
    parent: str = ""
    """Image id this one was committed or built on here."""
    tagged: int = 0
    """When it last got a tag here: `Metadata.LastTagTime`."""
    used: int = 0
    """When it was last pulled, made, tagged, or something was started from it."""
    extra: list[str] = []
    """Other blobs to keep with it."""

    @property
    def size(self) -> int:
        return sum(self.layer_sizes)


class ReferenceRecord(msgspec.Struct, omit_defaults=True):
    image: str
    target: str
    """Digest of the manifest or index the name stands for; its bytes are in the content store."""
    exact: bool = False
    """It is pushed as it is, also with plain layers: somebody asked for that."""


class Catalog:
    """See the module."""

    def __init__(self, database: Database, content: ContentStore) -> None:
        self._database = database
        self._content = content
        self._lock = threading.RLock()
        self._images = Documents(database, "image", ImageRecord)
        self._references = Documents(database, "image-reference", ReferenceRecord)
        self.images: dict[str, ImageRecord] = dict(self._images.all())
        self.references: dict[str, ReferenceRecord] = dict(self._references.all())
        self._configs: dict[str, ImageConfig] = {}
        self._chains: dict[str, list[str]] = {}
        self._sorted: list[str] = []
        self._by_image: dict[str, list[Reference]] = {}
        self._index()

    def _index(self) -> None:
        self._sorted = sorted(self.images)
        by_image: dict[str, list[Reference]] = {}
        for name, record in sorted(self.references.items()):
            by_image.setdefault(record.image, []).append(references.parse(name))
        self._by_image = by_image

    # -- looking -----------------------------------------------------------------------------------
    def config(self, id: str) -> ImageConfig:
        """The decoded config; kept, because listing needs every one of them."""
        config = self._configs.get(id)
        if config is None:
            config = manifests.decode_config(self._content.read(id), f"config of image {id}")
            self._configs[id] = config
        return config

    def chain(self, id: str) -> list[str]:
        """The chainIDs of an image's layers."""
        chain = self._chains.get(id)
        if chain is None:
            chain = self._chains[id] = chain_ids(self.config(id).rootfs.diff_ids)
        return chain

    def names(self, id: str) -> list[Reference]:
        """Every reference to an image, sorted."""
        return self._by_image.get(id, [])

    def children(self, id: str) -> list[str]:
        return [other for other, record in self.images.items() if record.parent == id]

    def image(self, id: str) -> Image:
        record = self.images[id]
        names = self.names(id)
        return Image(
            id=id,
            config=self.config(id),
            manifest_digest=record.manifest,
            repo_tags=[name.familiar for name in names if not name.digest],
            repo_digests=[name.familiar for name in names if name.digest],
            size=record.size,
        )

    def find(self, ref: str) -> str:
        """The id that a reference, id, digest or unique id prefix means, in Docker's order. Raises `NotFound`,
        `InvalidParameter`.
        """
        if references.is_identifier(ref) or references.is_digest(ref):
            id = ref if ":" in ref else f"sha256:{ref}"
            if id in self.images:
                return id
            raise NotFound(f"No such image: {id}")
        reference = references.parse(ref)
        record = self.references.get(reference.key())
        if record is not None and record.image in self.images:
            return record.image
        found = self.by_prefix(ref)
        if found is None:
            raise NotFound(f"No such image: {reference.tagged().familiar}")
        return found

    def by_prefix(self, text: str) -> str | None:
        """The only image whose id begins so; None when there is none or more than one."""
        prefix = text if text.startswith("sha256:") else f"sha256:{text}"
        if len(prefix) == len("sha256:"):
            return None
        at = bisect.bisect_left(self._sorted, prefix)
        matching = [id for id in self._sorted[at : at + 2] if id.startswith(prefix)]
        return matching[0] if len(matching) == 1 else None

    def is_id(self, ref: str, id: str) -> bool:
        """Does `ref` spell the id (whole or a prefix) rather than a name?"""
        return id.startswith(ref) or id.removeprefix("sha256:").startswith(ref)

    def require_platform(self, ref: str, id: str, wanted: Platform) -> None:
        """Raises `NotFound` as Docker words it when the image is for another platform."""
        config = self.config(id)
        actual = Platform(os=config.os, architecture=config.architecture, variant=config.variant)
        if not platforms.matches(actual, wanted):
            raise NotFound(
                f"image with reference {ref} was found but does not match the specified platform: wanted "
                f"{platforms.text(platforms.normalize(wanted))}, actual: {platforms.text(platforms.normalize(actual))}"
            )

    # -- changing ----------------------------------------------------------------------------------
    def put(
        self, id: str, record: ImageRecord, names: Iterable[tuple[Reference, str]] = (), exact: bool = False
    ) -> set[str]:
        """Stores an image and (reference, target digest) pairs in one transaction. A name that was another image's
        moves. Returns what the image's record had before and has no more: the caller's to collect.

        One image may have been packaged in several ways (compressed here, plain there): blobs of a manifest that
        another name stands for stay with it.
        """
        before: set[str] = set()
        names = list(names)
        with self._lock, self._database.transaction():
            known = self.images.get(id)
            if known is not None:
                record.parent = record.parent or known.parent
                record.tagged = record.tagged or known.tagged
                before = self.blobs_of(id, known)
                own = {reference.key() for reference, _ in names}
                named = {one.target for key, one in self.references.items() if one.image == id and key not in own}
                kept = [known.manifest, *known.layers] if known.manifest in named else []
                extra = dict.fromkeys([*record.extra, *known.extra, *kept])
                record.extra = [one for one in extra if one not in (record.manifest, *record.layers)]
            record.used = time.time_ns()
            self._images.put(id, record)
            self.images = {**self.images, id: record}
            for reference, target in names:
                self._put_reference(reference, ReferenceRecord(id, target, exact))
            self._index()
            return before - self.blobs_of(id, record)

    def _put_reference(self, reference: Reference, record: ReferenceRecord) -> None:
        key = reference.key()
        self._references.put(key, record)
        self.references = {**self.references, key: record}

    def name(self, reference: Reference, id: str, target: str, tagged: int, exact: bool = False) -> None:
        """Points a name at an image that is here."""
        with self._lock, self._database.transaction():
            record = self.images[id]
            record.tagged = tagged
            record.used = max(record.used, tagged)
            self._images.put(id, record)
            self._put_reference(reference, ReferenceRecord(id, target, exact))
            self._index()

    def use(self, id: str, now: int) -> None:
        """Notes that something was started from an image, to the hour."""
        with self._lock:
            record = self.images.get(id)
            if record is not None and record.used < now - _USE_STEP:
                record.used = now
                self._images.put(id, record)

    def unname(self, reference: Reference) -> None:
        with self._lock, self._database.transaction():
            self._forget_names(reference)
            self._index()

    def remove(self, id: str) -> ImageRecord:
        """Forgets an image and all its names; its blobs and layers are the caller's to collect."""
        with self._lock, self._database.transaction():
            self._forget_names(*self.names(id))
            self._images.delete(id)
            record = self.images[id]
            self.images = {other: kept for other, kept in self.images.items() if other != id}
            self._index()
        return record

    def _forget_names(self, *names: Reference) -> None:
        gone = {name.key() for name in names}
        for key in gone:
            self._references.delete(key)
        self.references = {key: record for key, record in self.references.items() if key not in gone}

    def forget(self, id: str) -> None:
        """Drops cached decodings, once nothing needs them."""
        self._configs.pop(id, None)
        self._chains.pop(id, None)

    # -- what must stay ----------------------------------------------------------------------------
    def blobs_of(self, id: str, record: ImageRecord) -> set[str]:
        return {id, record.manifest, *record.layers, *record.extra}

    def named_blobs(self) -> set[str]:
        """Every digest that some image or reference needs."""
        with self._lock:
            needed = {record.target for record in self.references.values()}
            for id, record in self.images.items():
                needed |= self.blobs_of(id, record)
            return needed

    def named_layers(self) -> set[str]:
        """Every chainID that some image needs."""
        with self._lock:
            return {link for id in self.images for link in self.chain(id)}
