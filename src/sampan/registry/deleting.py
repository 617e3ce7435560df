"""Content management: manifests, tags and blobs are deleted from a repository; bytes go with the next collection."""

from __future__ import annotations

from aiohttp import web

from sampan.registry.exchange import reply
from sampan.registry.names import check_digest, check_reference
from sampan.registry.repositories import Repository


async def manifest(repository: Repository, reference: str) -> web.StreamResponse:
    """By digest the manifest with all its tags, by tag only the tag."""
    if ":" in check_reference(reference):
        await repository.delete_manifest(reference)
    else:
        await repository.untag(reference)
    return reply(202)


async def blob(repository: Repository, digest: str) -> web.StreamResponse:
    await repository.unlink(check_digest(digest))
    return reply(202, headers={"Docker-Content-Digest": digest})
