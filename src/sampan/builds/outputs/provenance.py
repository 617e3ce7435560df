"""How an image was made, as an attestation beside it: an in-toto statement with SLSA's provenance, in an index as
BuildKit stores attestations, so `docker buildx imagetools inspect` and scanners find it.

It says what this builder knows: the Dockerfile, the parameters, and the images that went in. What RUN steps fetched it
does not know, and does not claim to.

Sources: SLSA provenance v1.0; in-toto attestation v0.1 statement; BuildKit docs/attestations/attestation-storage.md.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from urllib.parse import quote

import msgspec

from sampan import __version__
from sampan.builds.model import Provenance
from sampan.builds.outputs.requests import Output
from sampan.builds.publishing import Result
from sampan.images import manifests, platforms, references
from sampan.images.digests import digest as digest_of
from sampan.images.importing import timestamp
from sampan.images.manifests import Descriptor, Manifest
from sampan.images.model import Platform

PREDICATE = "https://slsa.dev/provenance/v1"
_STATEMENT = "https://in-toto.io/Statement/v0.1"
_IN_TOTO = "application/vnd.in-toto+json"
_BUILD_TYPE = "urn:sampan:dockerfile:v1"


def predicate(result: Result, wanted: Provenance) -> dict[str, Any]:
    """SLSA's, v1.0."""
    work = result.work
    options = work.options
    request: dict[str, Any] = {"frontend": "dockerfile.v0"}
    if options.target:
        request["args"] = {"target": options.target}
    internal: dict[str, Any] = {"builderPlatform": platforms.text(platforms.host())}
    if wanted.everything:
        given = {f"build-arg:{name}": value for name, value in sorted(options.args.items()) if value is not None}
        labels = {f"label:{name}": value for name, value in sorted(options.labels.items())}
        request["args"] = {**request.get("args", {}), **given, **labels}
        request["secrets"] = [{"id": id} for id in sorted(options.secrets)]
        request["ssh"] = [{"id": id} for id in sorted(options.ssh)]
        internal["source"] = base64.b64encode(work.source).decode()
    return {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": {"configSource": {"path": options.dockerfile}, "request": request},
            "internalParameters": internal,
            "resolvedDependencies": [
                {"uri": _purl(name, result.platform), "digest": {"sha256": digest.partition(":")[2]}}
                for name, digest in sorted(work.materials.items())
            ],
        },
        "runDetails": {
            "builder": {"id": "", "version": {"sampan": __version__}},
            "metadata": {"startedOn": timestamp(work.begun), "finishedOn": timestamp(time.time_ns())},
        },
    }


def _purl(name: str, platform: Platform) -> str:
    """Of an image, as BuildKit writes it."""
    reference = references.parse(name).tagged()
    version = f"@{reference.tag}" if reference.tag else ""
    return f"pkg:docker/{reference.familiar_name}{version}?platform={quote(platforms.text(platform), safe='')}"


async def attach(result: Result, wanted: Provenance, image: Descriptor, output: Output) -> tuple[Descriptor, list[str]]:
    """(the attestation's entry for the index, its blobs)."""
    work = result.work
    content, lease = work.services.holdings.content, work.lease
    names = output.names or work.options.tags
    purls = [_purl(name, result.platform) for name in names] or ["_"]
    subject = {"sha256": image.digest.partition(":")[2]}
    statement = {
        "_type": _STATEMENT,
        "predicateType": PREDICATE,
        "subject": [{"name": name, "digest": subject} for name in purls],
        "predicate": predicate(result, wanted),
    }
    data = msgspec.json.encode(statement)
    config = msgspec.json.encode(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(data)]},
        }
    )
    lease.hold(digest_of(data), digest_of(config))
    for blob in (data, config):
        await asyncio.to_thread(content.put, blob)
    layer = Descriptor(
        media_type=_IN_TOTO,
        digest=digest_of(data),
        size=len(data),
        annotations={"in-toto.io/predicate-type": PREDICATE},
    )
    manifest = Manifest(
        schema_version=2,
        media_type=manifests.OCI_MANIFEST,
        config=Descriptor(media_type=manifests.OCI_CONFIG, digest=digest_of(config), size=len(config)),
        layers=[layer],
    )
    described = await work.services.converter.put(manifest, lease)
    described.platform = Platform(architecture="unknown", os="unknown")
    described.annotations = {
        "vnd.docker.reference.digest": image.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return described, [layer.digest, digest_of(config), described.digest]
