"""A layer that came uncompressed is stored once: its blob is made again from its files, to the byte, or not let go."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.errors import SampanError
from sampan.images import Images, Snapshots
from sampan.images.content import folding
from sampan.images.digests import digest
from sampan.store import Database, EventLog
from support.images import docker_archive

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners")

BIG = bytes(range(256)) * 400


class Shop:
    """Images on a data root, with a clock that can be turned."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kept: set[str] = set()
        self.database = Database(root / "state.db")
        self.images = Images(root, self.database, EventLog(self.database), Snapshots(root), keepers=[lambda: self.kept])
        self.holdings, self.content = self.images.holdings, self.images.holdings.content

    async def close(self) -> None:
        await self.images.close()
        self.database.close()

    async def load(self, name: str, *layers: bytes) -> str:
        async def chunks() -> AsyncIterator[bytes]:
            yield docker_archive([name], layers, {})

        await self.images.load(chunks(), lambda _: None)
        return self.images.resolve(name).id

    def fold(self) -> list[str]:
        self.holdings.sync()
        return self.holdings.fold()

    def read(self, blob: str) -> bytes:
        return b"".join(self.holdings.read(blob))

    def file(self, blob: str) -> Path:
        return self.root / "blobs/sha256" / blob.removeprefix("sha256:")

    def files(self) -> list[str]:
        """All that is left of images on the disk."""
        rooms = ("blobs/sha256", "recipes", "ingest", "layers")
        return [path.name for room in rooms for path in (self.root / room).iterdir() if path.name != "empty"]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    await shop.close()


def layer(*files: tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


async def test_a_folded_blob_takes_no_room_and_is_there_for_who_reads_it(shop: Shop) -> None:
    tar = layer(("a/file", BIG), ("b", b"small"), ("ü" * 120, BIG[:5000]))
    blob = digest(tar)
    await shop.load("one:1", tar)
    assert shop.holdings.fold() == [], "what is not on the disk yet is not let go of"
    assert shop.fold() == [blob] and not shop.file(blob).exists()
    assert shop.content.exists(blob) and shop.content.size(blob) == len(tar)
    assert 0 < shop.content.stored(blob) < 2000
    assert shop.read(blob) == tar
    assert shop.file(blob).exists() and shop.fold() == [], "who asked for it may ask again"
    os.utime(shop.file(blob), (1, 1))
    assert shop.fold() == [blob] and not shop.file(blob).exists()


async def test_folded_blobs_are_saved_and_loaded_like_others(shop: Shop) -> None:
    tar = layer(("file", BIG))
    id = await shop.load("one:1", tar)
    before = [chunk async for chunk in shop.images.save(["one:1"])]
    shop.fold()
    assert b"".join([chunk async for chunk in shop.images.save(["one:1"])]) == b"".join(before)
    assert await shop.load("one:1", tar) == id


async def test_what_was_folded_goes_whole(shop: Shop) -> None:
    await shop.load("one:1", layer(("file", BIG)), layer(("other", BIG)))
    assert len(shop.fold()) == 2
    shop.images.delete("one:1")
    assert shop.files() == [] and shop.content.recipes.sizes == {}


async def test_a_folded_blob_keeps_its_layer_as_long_as_somebody_needs_it(shop: Shop) -> None:
    tar = layer(("file", BIG))
    await shop.load("one:1", tar)
    shop.fold()
    shop.kept = {digest(tar)}  # as the built-in registry does
    shop.images.delete("one:1")
    assert shop.read(digest(tar)) == tar
    shop.kept = set()
    shop.holdings.collect([digest(tar)], [])
    assert shop.files() == []


async def test_a_layer_in_two_images_on_different_chains_can_lose_either(shop: Shop) -> None:
    shared, below = layer(("file", BIG)), layer(("below", b"x"))
    await shop.load("one:1", shared)
    await shop.load("two:1", below, shared)
    shop.fold()
    shop.images.delete("one:1")
    assert shop.read(digest(shared)) == shared
    shop.images.delete("two:1")
    assert shop.files() == []


async def test_a_restart_knows_what_is_folded(shop: Shop) -> None:
    tar = layer(("file", BIG))
    await shop.load("one:1", tar)
    shop.fold()
    (shop.root / "recipes" / "abc.new").write_bytes(b"half")
    await shop.close()
    again = Shop(shop.root)
    assert not (shop.root / "recipes" / "abc.new").exists()
    assert again.images.resolve("one:1").size == len(BIG) and again.read(digest(tar)) == tar
    await again.close()
    shop.database = Database(shop.root / "other.db")


async def test_a_layer_that_was_changed_is_noticed(shop: Shop) -> None:
    first, second = layer(("file", BIG)), layer(("file", BIG[::-1]))
    await shop.load("one:1", first)
    await shop.load("two:1", second)
    below = shop.images.resolve("two:1").chain_id
    assert below is not None
    (shop.holdings.snapshots.layer(below) / "file").write_bytes(BIG)
    assert shop.fold() == [digest(first)], "the other does not give its blob again"
    assert shop.read(digest(second)) == second
    above = shop.images.resolve("one:1").chain_id
    assert above is not None
    (shop.holdings.snapshots.layer(above) / "file").write_bytes(BIG[::-1])
    with pytest.raises(SampanError, match=f"unexpected content of blob {digest(first)}"):
        shop.read(digest(first))
    (shop.holdings.snapshots.layer(above) / "file").unlink()
    (shop.holdings.snapshots.layer(above) / "file").symlink_to("/etc/passwd")
    with pytest.raises(SampanError, match="'file' of a layer"):
        shop.read(digest(first))


async def test_a_power_cut_takes_nothing_that_was_folded(shop: Shop) -> None:
    """Blobs and layers with an earlier boot's mark are doubted; a folded blob's layer has none."""
    tar = layer(("file", BIG))
    await shop.load("one:1", tar)
    shop.fold()
    shop.read(digest(tar))
    (mark,) = (shop.root / "unsynced").iterdir()
    mark.unlink()
    mark.symlink_to("another-boot")
    shop.file(digest(tar)).write_bytes(b"torn")
    await shop.close()
    again = Shop(shop.root)
    assert again.read(digest(tar)) == tar and again.images.resolve("one:1")
    await again.close()
    shop.database = Database(shop.root / "other.db")


def test_gnu_tars_with_holes_and_links_come_back(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d" / ("deep" * 30)).mkdir(parents=True)
    with (tree / "holes").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"data")
    (tree / "d" / ("deep" * 30) / "f").write_bytes(BIG)
    os.link(tree / "d" / ("deep" * 30) / "f", tree / "hard")
    for options in (["--format=gnu", "--sparse"], ["--format=posix", "--sparse"], ["--format=gnu", "-b", "99"]):
        subprocess.run(["tar", "-C", tree, *options, "-cf", tmp_path / "t.tar", "."], check=True)
        again(tmp_path, (tmp_path / "t.tar").read_bytes())


_names = st.sampled_from(["a", "./a", "b", "b/c", "b/../a", "/a", "long/" * 30 + "x"])
_kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_names, _kinds, st.integers(0, 2000)), max_size=7), st.binary(max_size=600))
def test_any_tar_comes_back_or_is_kept(tmp_path: Path, entries: list[tuple[str, bytes, int]], tail: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number, (name, kind, size) in enumerate(entries):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, "a", size if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(bytes([number]) * entry.size))
    again(tmp_path, buffer.getvalue() + tail, kept=True)


def again(place: Path, tar: bytes, *, kept: bool = False) -> None:
    """The blob that recipe and layer give. `kept`: it may also be refused."""
    from sampan.images import layers

    room = place / os.urandom(8).hex()
    (room / "layer").mkdir(parents=True)
    try:
        layers.apply([tar], room / "layer")
    except SampanError:
        return
    (room / "blob").write_bytes(tar)
    with (room / "recipe").open("wb") as recipe, (room / "blob").open("rb") as blob:
        folding.write(blob.fileno(), recipe, lambda: True)
    try:
        folding.check(room / "recipe", room / "layer", digest(tar), lambda: True)
    except folding.Unfoldable:
        assert kept
        return
    made = hashlib.sha256()
    for piece in folding.blob(room / "recipe", room / "layer"):
        made.update(piece)
    assert f"sha256:{made.hexdigest()}" == digest(tar) and folding.size_of(room / "recipe") == len(tar)


@pytest.mark.parametrize("cut", [0, 10, 30, -1])
def test_a_cut_recipe_is_refused(tmp_path: Path, cut: int) -> None:
    (tmp_path / "layer").mkdir()
    tar = layer(("file", BIG))
    (tmp_path / "layer/file").write_bytes(BIG)
    (tmp_path / "blob").write_bytes(tar)
    with (tmp_path / "recipe").open("wb") as recipe, (tmp_path / "blob").open("rb") as blob:
        folding.write(blob.fileno(), recipe, lambda: True)
    data = (tmp_path / "recipe").read_bytes()
    (tmp_path / "recipe").write_bytes(data[:cut])
    with pytest.raises(SampanError):
        if cut < 24:
            folding.size_of(tmp_path / "recipe")
        folding.check(tmp_path / "recipe", tmp_path / "layer", digest(tar), lambda: True)


async def test_two_that_fold_at_once_do_not_write_one_recipe(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = layer(("file", BIG))
    await shop.load("one:1", tar)
    shop.holdings.sync()
    writing, most, write = [0], [0], folding.write

    def slowly(blob: int, recipe: BinaryIO, going_on: Callable[[], bool]) -> None:
        writing[0] += 1
        most[0] = max(most[0], writing[0])
        time.sleep(0.1)
        write(blob, recipe, going_on)
        writing[0] -= 1

    monkeypatch.setattr(folding, "write", slowly)
    folded = await asyncio.gather(*(asyncio.to_thread(shop.holdings.fold) for _ in range(2)))
    assert sorted(folded) == [[], [digest(tar)]] and most == [1]
    assert shop.read(digest(tar)) == tar


async def test_a_blob_that_goes_while_it_is_folded_leaves_no_recipe(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.load("one:1", layer(("file", BIG)))
    shop.holdings.sync()
    recipes = shop.content.recipes
    keep = recipes.keep

    def kept(new: Path, blob: str) -> None:
        keep(new, blob)
        assert not recipes.sizes, "nobody reads it before it is agreed on"
        shop.images.delete("one:1")

    monkeypatch.setattr(recipes, "keep", kept)
    assert shop.holdings.fold() == [] and shop.files() == []


async def test_a_damaged_recipe_is_an_error_that_names_it(shop: Shop) -> None:
    tar = layer(("file", BIG))
    await shop.load("one:1", tar)
    shop.fold()
    recipe = shop.content.recipes.path(digest(tar))
    data = bytearray(recipe.read_bytes())
    data[24:28] = b"none"  # zstd's magic number
    recipe.write_bytes(data)
    with pytest.raises(SampanError, match=f"recipe {recipe} cannot be followed"):
        shop.read(digest(tar))
    recipe.unlink()
    with pytest.raises(SampanError, match=f"recipe {recipe} cannot be followed"):
        shop.read(digest(tar))
