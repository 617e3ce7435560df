"""Content discovery: tags, catalogue, referrers, search."""

from __future__ import annotations

import msgspec
from aiohttp import web

from sampan.registry import documents
from sampan.registry.documents import Referrer
from sampan.registry.exchange import JSON, Exchange, next_link, reply
from sampan.registry.mirror import Mirror
from sampan.registry.names import check_digest, tag_order
from sampan.registry.repositories import Repositories, Repository

_REFERRERS_LIMIT = 3 << 20
"""Bytes of one page of referrers: below the 4 MiB that clients take as a manifest."""


async def tags(exchange: Exchange, repository: Repository, mirror: Mirror | None) -> web.StreamResponse:
    count, last = exchange.page(), exchange.text("last")
    found = await mirror.tags(repository) if mirror is not None else await repository.tags()
    if last:
        found = [tag for tag in found if tag_order(tag) > tag_order(last)]
    page = found[:count]
    headers = {}
    if count and len(found) > count:
        headers = next_link(f"/v2/{repository.name}/tags/list", {"n": str(count), "last": page[-1]})
    body = msgspec.json.encode({"name": repository.name, "tags": page})
    return reply(200, body, headers, JSON)


async def catalog(exchange: Exchange, repositories: Repositories) -> web.StreamResponse:
    count, last = exchange.page(), exchange.text("last").replace("/", ",")
    names = [name for name in await repositories.names() if not last or name.replace("/", ",") > last]
    page = names[:count]
    headers = next_link("/v2/_catalog", {"n": str(count), "last": page[-1]}) if count and len(names) > count else {}
    return reply(200, msgspec.json.encode({"repositories": page}), headers, JSON)


async def referrers(exchange: Exchange, repository: Repository, digest: str) -> web.StreamResponse:
    """`GET /v2/<name>/referrers/<digest>`: an index, empty when nobody refers to it."""
    check_digest(digest)
    kind, last = exchange.text("artifactType"), exchange.text("last")
    chosen: list[Referrer] = []
    size, more = 0, False
    async for one in repository.referrers(digest):
        if (kind and one.artifact_type != kind) or (last and one.digest <= last):
            continue
        size += len(msgspec.json.encode(one))
        if size > _REFERRERS_LIMIT and chosen:
            more = True
            break
        chosen.append(one)
    headers = {}
    if more:
        parameters = {"last": chosen[-1].digest} | ({"artifactType": kind} if kind else {})
        headers = next_link(f"/v2/{repository.name}/referrers/{digest}", parameters)
    if kind:
        headers["OCI-Filters-Applied"] = "artifactType"
    return reply(200, documents.referrers_index(chosen), headers, documents.INDEX)


async def search(exchange: Exchange, repositories: Repositories) -> web.StreamResponse:
    """`GET /v1/search?q=&n=`, as `docker search HOST/term` asks it: names that have the words of `q` in them."""
    query = exchange.text("q")
    count = exchange.page() if exchange.text("n") else 25
    words = query.lower().split()
    names = [name for name in await repositories.names() if all(word in name for word in words)]
    results = [
        {
            "name": name,
            "description": await repositories.describe(name),
            "star_count": 0,
            "is_official": False,
            "is_automated": False,
        }
        for name in names[:count]
    ]
    body = {"num_results": len(names), "query": query, "page": 1, "page_size": count, "results": results}
    return reply(200, msgspec.json.encode(body), None, JSON)
