"""The registry on the engine's content store: each side keeps what it needs, and lets go of what neither does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.images.digests import digest
from sampan.images.holdings import Holdings
from sampan.images.snapshots import Snapshots
from sampan.registry import documents
from sampan.registry.collection import Collector
from sampan.registry.engine import EngineStorage
from sampan.registry.linked import Linked
from sampan.registry.metrics import Metrics
from sampan.registry.repositories import Repositories
from sampan.store import Database
from support.own_registry import OCI_MANIFEST, image


def holdings_of(root: Path, linked: Linked) -> Holdings:
    return Holdings(root, Database(root / "state.db"), Snapshots(root), [linked])


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def push(storage: EngineStorage) -> str:
    repository = Repositories(storage).repository("a")
    for data in (b"{}", b"layer"):
        upload = os.urandom(16).hex()
        await storage.begin(upload)
        await storage.append(upload, None, _once(data))
        storage.linked(digest(data))
        await storage.publish(upload, digest(data))
        await repository.link(digest(data))
    data = json.dumps(image(b"{}", b"layer")).encode()
    return await repository.put_manifest(data, documents.inspect(data, OCI_MANIFEST), ["1"])


def age(root: Path) -> None:
    then = time.time() - 10_000
    for directory, _, names in os.walk(root / "registry"):
        for name in names:
            os.utime(Path(directory, name), (then, then))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


async def test_the_engine_keeps_what_was_pushed_also_after_a_restart_without_the_registry(root: Path) -> None:
    linked = Linked(root)
    holdings = holdings_of(root, linked)
    pushed = await push(EngineStorage(holdings, linked))
    holdings.sweep()
    assert all(holdings.content.exists(one) for one in (pushed, digest(b"layer"), digest(b"{}")))
    holdings.close()
    again = holdings_of(root, Linked(root))
    again.reconcile()
    assert again.content.exists(digest(b"layer"))
    again.close()


async def test_what_both_let_go_of_goes_and_what_the_engine_needs_stays(root: Path) -> None:
    linked = Linked(root)
    holdings = holdings_of(root, linked)
    storage = EngineStorage(holdings, linked)
    pushed = await push(storage)
    repositories = Repositories(storage)
    await repositories.repository("a").delete_manifest(pushed)
    async with holdings.lease() as lease:
        lease.hold(digest(b"layer"))  # an operation of the engine has it in hand
        for _ in range(3):
            age(root)
            await Collector(repositories, Metrics(), 100).run()
        assert holdings.content.exists(digest(b"layer"))
        assert not holdings.content.exists(digest(b"{}"))
        assert not holdings.content.exists(pushed)
    assert not holdings.content.exists(digest(b"layer"))
    assert linked() == set()
    holdings.close()


async def test_images_blobs_are_not_the_registrys_to_collect(root: Path) -> None:
    linked = Linked(root)
    holdings = holdings_of(root, linked)
    own = holdings.content.put(b"a blob of an image")
    for _ in range(3):
        age(root)
        await Collector(Repositories(EngineStorage(holdings, linked)), Metrics(), 100).run()
    assert holdings.content.exists(own)
    holdings.close()
