"""`--image-gc`: images nobody uses go by age and by size; the others stay."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.images import Images, Snapshots
from sampan.images.expiry import Expiry
from sampan.store import Database, EventLog

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
DAY = 86400.0


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def tar(size: int) -> bytes:
    from sampan.images.tar import writer

    content = os.urandom(size)
    return writer.header(b"file", b"0", size=size) + content + writer.END


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Images]:
    root = tmp_path / "data"
    database = Database(root / "state.db")
    images = Images(root, database, EventLog(database), Snapshots(root))
    yield images
    await images.close()
    database.close()


async def make(images: Images, name: str, days: float, size: int = 512) -> str:
    """An image that was last used so many days ago."""
    id = await images.import_archive(once(tar(size)), name)
    images.holdings.catalog.images[id].used = int((time.time() - days * DAY) * 1e9)
    return id


async def test_what_was_unused_too_long_goes(images: Images) -> None:
    old, young = await make(images, "old:1", 40), await make(images, "young:1", 20)
    assert await Expiry(images, 30 * DAY, 0).run() == [old]
    assert images.resolve("young:1").id == young


async def test_when_layers_take_too_much_the_longest_unused_goes_first(images: Images) -> None:
    ids = [await make(images, f"i{days}:1", days, 512_000) for days in (1, 3, 2)]
    assert await Expiry(images, 0, 1_100_000).run() == [ids[1]]
    assert await Expiry(images, 0, 1_100_000).run() == []


async def test_what_was_just_pulled_stays_however_large(images: Images) -> None:
    await make(images, "new:1", 0, 512_000)
    assert await Expiry(images, 0, 1).run() == []


async def test_what_a_container_has_stays(images: Images) -> None:
    used = await make(images, "used:1", 400)
    images.users = lambda id: [("container", False)] if id == used else []  # type: ignore[method-assign]
    assert await Expiry(images, DAY, 1).run() == []
    assert images.resolve("used:1")


async def test_starting_something_from_an_image_counts_as_use(images: Images) -> None:
    id = await make(images, "base:1", 40)
    images.used(id)
    assert await Expiry(images, 30 * DAY, 0).run() == []


async def test_an_image_with_many_names_goes_whole(images: Images) -> None:
    id = await make(images, "one:1", 40)
    images.tag("one:1", "two", "1")
    images.holdings.catalog.images[id].used = int((time.time() - 40 * DAY) * 1e9)
    assert await Expiry(images, 30 * DAY, 0).run() == [id]
    assert images.list(all=True) == []
    assert images.layers_size() == 0
