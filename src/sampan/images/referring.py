"""Referrers: signatures, SBOMs and other artefacts whose `subject` is an image. `pull --referrers` brings them along,
and a push of that image takes them to wherever it goes, so that what was signed there is signed here.

Sources: image-spec 1.1 manifest.md ("subject"), distribution-spec 1.1 "Listing Referrers", "Pushing Manifests with
Subject", "Referrers Tag Schema" (for registries that have no API for it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from sampan.errors import SampanError
from sampan.images import manifests
from sampan.images.content import IngestBusy
from sampan.images.digests import digest as digest_of
from sampan.images.holdings import Holdings, Lease
from sampan.images.manifests import Descriptor, Index, Manifest
from sampan.images.progress import Progress, message, short
from sampan.images.remote import Repository
from sampan.images.remote.uploads import Uploads

_MOST = 200
"""Referrers of one image, those of referrers included."""
_AGAIN = 0.1
_EMPTY = "application/vnd.oci.empty.v1+json"


class _Subject(msgspec.Struct, rename="camel"):
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Referrer:
    """An artefact that is here: `data` are its manifest's own bytes."""

    digest: str
    data: bytes
    subject: str
    document: Manifest | Index

    @property
    def media_type(self) -> str:
        return self.document.media_type or (
            manifests.OCI_INDEX if isinstance(self.document, Index) else manifests.OCI_MANIFEST
        )

    @property
    def blobs(self) -> list[Descriptor]:
        if isinstance(self.document, Index):
            return []
        return [self.document.config, *self.document.layers]

    @property
    def descriptor(self) -> Descriptor:
        """As an index of referrers lists it."""
        given = msgspec.json.decode(self.data, type=_Subject)
        kind = given.artifact_type
        if not kind and isinstance(self.document, Manifest) and self.document.config.media_type != _EMPTY:
            kind = self.document.config.media_type
        return Descriptor(
            media_type=self.media_type,
            digest=self.digest,
            size=len(self.data),
            artifact_type=kind,
            annotations=given.annotations,
        )


def read(data: bytes) -> Referrer | None:
    """None for a manifest without a subject."""
    document = manifests.decode(data)
    try:
        subject = msgspec.json.decode(data, type=_Subject).subject
    except msgspec.DecodeError as error:
        raise SampanError(f"manifest {digest_of(data)} has no valid subject: {error}") from None
    return None if subject is None else Referrer(digest_of(data), data, subject.digest, document)


# -- pulling -----------------------------------------------------------------------------------------
async def fetch(
    repository: Repository, subjects: Iterable[str], holdings: Holdings, lease: Lease, progress: Progress
) -> list[str]:
    """Brings the referrers of manifests, and theirs; returns the digests of all that has to be kept for them."""
    kept: list[str] = []
    waiting, seen = list(subjects), set[str]()
    while waiting:
        for entry in await repository.referrers(waiting.pop(0)):
            if entry.digest in seen:
                continue
            if len(seen) >= _MOST:
                raise SampanError(f"more than {_MOST} artefacts refer to this image")
            seen.add(entry.digest)
            lease.hold(entry.digest)
            found = await repository.manifest(entry.digest)
            referrer = read(found.data)
            if referrer is None:
                raise SampanError(f"referrer {entry.digest} has no subject")
            for blob in referrer.blobs:
                lease.hold(blob.digest)
                await _blob(repository, blob, holdings)
                kept.append(blob.digest)
            await asyncio.to_thread(holdings.content.put, found.data, entry.digest)
            kept.append(entry.digest)
            progress(message(f"Pulled referrer {referrer.descriptor.artifact_type}".rstrip(), short(entry.digest)))
            waiting.append(entry.digest)
    return kept


async def _blob(repository: Repository, blob: Descriptor, holdings: Holdings) -> None:
    while not holdings.content.exists(blob.digest):
        try:
            with holdings.content.ingest(blob.digest, blob.size) as ingest:
                ingest.restart()
                if blob.size:
                    async for chunk in repository.blob(blob, 0):
                        await asyncio.to_thread(ingest.write, chunk)
                await asyncio.to_thread(ingest.commit)
        except IngestBusy:  # another pull has it in hand
            await asyncio.sleep(_AGAIN)


# -- pushing -----------------------------------------------------------------------------------------
def of(pushed: Iterable[str], kept: Iterable[str], holdings: Holdings) -> list[Referrer]:
    """Those among `kept` digests that refer to what was pushed, or to one another: subjects before who refers to
    them.
    """
    waiting: dict[str, list[Referrer]] = {}
    for digest in kept:
        if holdings.content.exists(digest) and holdings.content.size(digest) <= manifests.LIMIT:
            try:
                referrer = read(holdings.content.read(digest))
            except SampanError:
                continue  # one of their blobs
            if referrer is not None:
                waiting.setdefault(referrer.subject, []).append(referrer)
    found: list[Referrer] = []
    subjects = list(dict.fromkeys(pushed))
    while subjects:
        more = waiting.pop(subjects.pop(0), [])
        found += more
        subjects += [referrer.digest for referrer in more]
    return found


async def send(referrer: Referrer, uploads: Uploads, repository: Repository) -> None:
    """Puts the manifest, and where the registry does not say that it keeps a list of referrers, the list too."""
    if await uploads.referrer(referrer.digest, referrer.data, referrer.media_type):
        return
    tag = referrer.subject.replace(":", "-")
    listed = [entry for entry in await repository.referrers(referrer.subject) if entry.digest != referrer.digest]
    index = Index(schema_version=2, media_type=manifests.OCI_INDEX, manifests=[*listed, referrer.descriptor])
    data = manifests.encode(index)
    await uploads.manifest(tag, data, manifests.OCI_INDEX)
