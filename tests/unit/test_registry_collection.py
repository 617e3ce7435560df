"""Collection never takes what is in use: by age, by order, and when a push comes between two of its steps."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.images.digests import digest
from sampan.registry import documents
from sampan.registry.collection import Collector
from sampan.registry.directory import Directory
from sampan.registry.metrics import Metrics
from sampan.registry.repositories import Repositories, Repository
from support.own_registry import OCI_INDEX, OCI_MANIFEST, image

GRACE = 100.0


class Place:
    """A registry's storage whose age can be changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = Directory(root)
        self.repositories = Repositories(self.storage)
        self.repository = self.repositories.repository("a/b")

    def collector(self, **more: Any) -> Collector:
        return Collector(self.repositories, Metrics(), GRACE, **more)

    def age(self, seconds: float = GRACE * 10) -> None:
        """Everything was written so long ago."""
        then = time.time() - seconds
        for directory, _, names in os.walk(self.root):
            for name in names:
                os.utime(Path(directory, name), (then, then))

    async def blob(self, data: bytes, repository: Repository | None = None) -> str:
        upload = os.urandom(16).hex()
        await self.storage.begin(upload)
        await self.storage.append(upload, None, _once(data))
        await self.storage.publish(upload, digest(data))
        await (repository or self.repository).link(digest(data))
        return digest(data)

    async def manifest(self, document: dict[str, Any], *tags: str) -> str:
        data = json.dumps(document).encode()
        record = documents.inspect(data, document["mediaType"])
        return await self.repository.put_manifest(data, record, list(tags))

    async def has(self, where: str) -> bool:
        return await self.storage.blob_size(where) is not None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_what_a_manifest_names_stays(place: Place) -> None:
    config, layer = await place.blob(b"{}"), await place.blob(b"layer")
    pushed = await place.manifest(image(b"{}", b"layer"), "v1")
    for _ in range(3):
        place.age()
        await place.collector().run()
    assert [await place.has(one) for one in (config, layer, pushed)] == [True] * 3
    assert await place.repository.has(layer) == 5


async def test_a_deleted_image_goes_after_two_rounds_of_grace(place: Place) -> None:
    layer = await place.blob(b"layer")
    await place.blob(b"{}")
    pushed = await place.manifest(image(b"{}", b"layer"), "v1")
    await place.repository.delete_manifest(pushed)
    assert (await place.collector().run()).blobs == 0
    place.age()
    first = await place.collector().run()
    assert (first.links, first.blobs) == (2, 1)  # the manifest's bytes had their mark already
    assert await place.has(layer)
    place.age()
    assert (await place.collector().run()).blobs == 2
    assert not await place.has(layer)


async def test_a_blob_that_was_just_pushed_waits_for_its_manifest(place: Place) -> None:
    layer = await place.blob(b"layer")
    await place.collector().run()
    await place.collector().run()
    assert await place.repository.has(layer) == 5


async def test_asking_for_a_blob_renews_its_link(place: Place) -> None:
    layer = await place.blob(b"layer")
    place.age()
    assert await place.repository.has(layer, renew=True) == 5
    await place.collector().run()
    assert await place.repository.has(layer) == 5


async def test_a_push_between_two_steps_gets_its_blob_back(place: Place) -> None:
    layer = await place.blob(b"layer")
    await place.repository.unlink(layer)
    await place.collector().run()
    place.age()
    set_aside = place.storage.set_aside

    async def slow(where: str) -> str | None:
        token = await set_aside(where)
        await place.repositories.repository("x/y").link(where)  # another process, this very moment
        return token

    place.storage.set_aside = slow  # type: ignore[method-assign]
    assert (await place.collector().run()).blobs == 0
    assert await place.repositories.repository("x/y").has(layer) == 5


async def test_who_asks_while_a_blob_is_set_aside_gets_it_when_it_is_back(place: Place) -> None:
    layer = await place.blob(b"layer")
    await place.blob(b"{}")
    pushed = await place.manifest(image(b"{}", b"layer"), "v1")
    aside = {one: await place.storage.set_aside(one) for one in (layer, pushed)}

    async def back() -> None:
        await asyncio.sleep(0.1)
        for one, token in aside.items():
            await place.storage.restore(token or "", one)

    record = await place.repository.record(pushed)
    assert record is not None
    _, size, _, data = await asyncio.gather(
        back(),
        place.repository.has(layer),
        place.manifest(image(b"{}", b"layer"), "v2"),
        place.repository.manifest(pushed, record),
    )
    assert size == 5 and digest(data) == pushed


async def test_an_old_untagged_manifest_that_is_pushed_again_meanwhile_stays(place: Place) -> None:
    await place.blob(b"layer")
    await place.blob(b"{}")
    await place.manifest(image(b"{}", b"layer"), "v1")
    await place.repository.untag("v1")
    place.age()
    collector = place.collector(untagged=True)
    unwanted = collector._unwanted

    async def pushed_again(*given: Any) -> set[str]:
        found = await unwanted(*given)
        await place.manifest(image(b"{}", b"layer"), "v2")
        return found

    collector._unwanted = pushed_again  # type: ignore[method-assign]
    assert (await collector.run()).manifests == 0
    assert await place.repository.tagged("v2") and await place.repository.resolve("v2")


async def test_two_collections_at_once_do_not_trip_over_each_other(place: Place) -> None:
    for number in range(5):
        layer = f"layer {number}".encode()
        await place.blob(layer)
        await place.blob(b"{}")
        await place.manifest(image(b"{}", layer), "v1")
    place.age()
    first, second = place.collector(untagged=True), place.collector(untagged=True)
    await asyncio.gather(first.run(), second.run(), first.run())
    left = [entry.key async for entry in place.storage.entries("repositories/a/b/_manifests/")]
    assert len(left) == 1


async def test_what_a_killed_collection_set_aside_comes_back(place: Place) -> None:
    layer = await place.blob(b"layer")
    await place.blob(b"{}")
    await place.manifest(image(b"{}", b"layer"), "v1")
    assert await place.storage.set_aside(layer)
    place.age()
    await place.collector().run()
    assert await place.has(layer)


async def test_old_uploads_go_and_young_ones_stay(place: Place) -> None:
    await place.storage.begin("0" * 32)
    place.age()
    await place.storage.begin("1" * 32)
    assert (await place.collector().run()).uploads == 1
    assert await place.storage.upload_size("1" * 32) == 0


async def test_untagged_manifests_go_only_when_asked_and_when_no_index_names_them(place: Place) -> None:
    await place.blob(b"{}")
    await place.blob(b"one")
    await place.blob(b"two")
    child = await place.manifest(image(b"{}", b"one"))
    alone = await place.manifest(image(b"{}", b"two"))
    entry = {"mediaType": OCI_MANIFEST, "digest": child, "size": 1}
    await place.manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, "all")
    place.age()
    await place.collector().run()
    assert await place.repository.record(alone) is not None
    place.age()
    await place.collector(untagged=True).run()
    assert await place.repository.record(alone) is None
    assert await place.repository.record(child) is not None


async def test_a_mirror_forgets_what_nobody_asked_for(place: Place) -> None:
    await place.blob(b"{}")
    await place.blob(b"layer")
    pushed = await place.manifest(image(b"{}", b"layer"), "v1")
    place.age(5000)
    await place.repository.touch(pushed)
    await place.collector(keep=1000).run()
    assert await place.repository.record(pushed) is not None
    place.age(5000)
    await place.collector(keep=1000).run()
    assert await place.repository.record(pushed) is None
    assert await place.repository.tagged("v1") is None
