"""Finding, listing, removing: Docker's rules over images that exist only as records and small files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.errors import Conflict, InvalidParameter, NotFound
from sampan.images import Images, Platform, Snapshots, hello, listing
from sampan.images.content import DigestMismatch, IngestBusy
from sampan.images.digests import chain_ids, digest
from sampan.images.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest, encode
from sampan.images.references import parse
from sampan.store import Database, EventLog


class Shelf:
    """An `Images` on its own data root, with a way to put images there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = Database(root / "state.db")
        self.events = EventLog(self.database)
        self.images = Images(root, self.database, self.events, Snapshots(root))

    def reopen(self) -> Shelf:
        self.database.close()
        return Shelf(self.root)

    def put(
        self, *names: str, created: str = "2026-01-01T00:00:00Z", layers: int = 1, parent: str = "", **run: Any
    ) -> str:
        """An image whose layers are named by number: images with more layers share those of images with fewer."""
        holdings = self.images.holdings
        blobs = [holdings.content.put(f"layer {n}".encode()) for n in range(layers)]
        diff_ids = [digest(f"diff {n}".encode()) for n in range(layers)]
        config = {
            "os": "linux", "architecture": "amd64", "created": created, "config": run,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [
                {"created_by": "empty", "empty_layer": True}, *({"created_by": f"step {n}"} for n in range(layers))
            ],
        }  # fmt: skip
        id = holdings.content.put(msgspec.json.encode(config))
        chain = chain_ids(diff_ids)
        for position, link in enumerate(chain):
            with holdings.snapshots.new_layer() as new:
                new.commit(link, chain[position - 1] if position else None, 100 + position, diff_ids[position])
        manifest = Manifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            config=Descriptor(media_type=OCI_CONFIG, digest=id, size=1),
            layers=[Descriptor(media_type=OCI_LAYER, digest=blob, size=7) for blob in blobs],
        )
        target = holdings.content.put(encode(manifest))
        record = holdings.record(target, blobs, chain)
        record.parent = parent
        holdings.catalog.put(id, record, [(parse(name).tagged(), target) for name in names])
        return id

    def stored(self) -> tuple[int, int]:
        """(blobs, layers) on the disk."""
        holdings = self.images.holdings
        return len(list(holdings.content.digests())), len(holdings.snapshots.layers())


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.database.close()


def rows(deleted: object) -> list[str]:
    assert isinstance(deleted, list)
    return [f"U {row.untagged}" if row.untagged else f"D {row.deleted}" for row in deleted]


def test_found_by_name_id_prefix_and_digest(shelf: Shelf) -> None:
    id = shelf.put("busybox:1")
    for ref in ("busybox:1", "docker.io/library/busybox:1", id, id[7:], id[7:19], id[:12]):
        assert shelf.images.resolve(ref).id == id
    for ref, named in (("busybox", "busybox:latest"), ("nosuch", "nosuch:latest"), ("1" * 64, "sha256:" + "1" * 64)):
        with pytest.raises(NotFound) as caught:
            shelf.images.resolve(ref)
        assert caught.value.message == f"No such image: {named}"
    with pytest.raises(InvalidParameter):
        shelf.images.resolve("BUSYBOX")


def test_another_platform_is_not_the_image(shelf: Shelf) -> None:
    shelf.put("busybox")
    assert shelf.images.resolve("busybox", Platform(os="linux", architecture="amd64"))
    with pytest.raises(
        NotFound, match="does not match the specified platform: wanted linux/arm64, actual: linux/amd64"
    ):
        shelf.images.resolve("busybox", Platform(os="linux", architecture="arm64"))


def test_a_name_wins_over_an_id_prefix(shelf: Shelf) -> None:
    id = shelf.put("a:1")
    other = shelf.put(id[7:11], layers=2)
    assert shelf.images.resolve(id[7:11]).id == other


def test_filters(shelf: Shelf) -> None:
    old = shelf.put("old:1", "team/old:2", created="2020-01-01T00:00:00Z", Labels={"k": "v"})
    new = shelf.put("new:1", created="2025-06-01T00:00:00.123456789Z", layers=2)
    bare = shelf.put(created="2026-01-01T00:00:00Z", layers=3)

    def ids(**filters: list[str]) -> list[str]:
        return [row.image.id for row in shelf.images.list(filters=filters)]

    assert ids() == [bare, new, old]
    assert ids(dangling=["true"]) == [bare] and ids(dangling=["0"]) == [new, old]
    assert ids(label=["k"]) == ids(label=["k=v"]) == [old] and ids(label=["k=x"]) == []
    assert ids(before=["new:1"]) == [old] and ids(since=["old:1"]) == [bare, new]
    assert ids(until=["2021-01-01"]) == [old] and ids(until=["1h"]) == [bare, new, old]
    assert (
        ids(reference=["team/*"]) == [old] and ids(reference=["*:1"]) == [new, old] and ids(reference=["new"]) == [new]
    )
    assert shelf.images.list(filters={"reference": ["team/*"]})[0].image.repo_tags == ["team/old:2"]
    for name, value in (("dangling", "maybe"), ("until", "soon"), ("nosuch", "x"), ("reference", "[")):
        with pytest.raises(InvalidParameter):
            ids(**{name: [value]})
    with pytest.raises(NotFound):
        ids(before=["nosuch"])


def test_parents_are_listed_only_with_all(shelf: Shelf) -> None:
    below = shelf.put()
    shelf.put("top", layers=2, parent=below)
    assert len(shelf.images.list()) == 1 and len(shelf.images.list(all=True)) == 2


def test_history_has_ids_only_for_images_that_are_here(shelf: Shelf) -> None:
    below = shelf.put()
    id = shelf.put("top:1", layers=2, parent=below)
    steps = shelf.images.history("top:1")
    assert [(s.id, s.created_by, s.size) for s in steps] == [
        (id, "step 1", 101), (below, "step 0", 100), ("<missing>", "empty", 0)
    ]  # fmt: skip
    assert steps[0].tags == ["top:1"]


def test_shared_sizes(shelf: Shelf) -> None:
    shelf.put("a")
    shelf.put("b", layers=2)
    assert {r.image.repo_tags[0]: r.shared_size for r in shelf.images.list(shared_size=True)} == {
        "a:latest": 100,
        "b:latest": 100,
    }
    assert shelf.images.layers_size() == 201


def test_disk_usage_counts_layers_and_blobs_once(shelf: Shelf) -> None:
    first, second = shelf.put("a:1"), shelf.put("a:2", layers=2)
    usage = shelf.images.usage()
    blobs = sum(path.stat().st_size for path in (shelf.root / "blobs/sha256").iterdir())
    assert usage.total == 100 + 101 + blobs
    (size, shared), (other, shared_too) = usage.sizes[first], usage.sizes[second]
    assert shared == shared_too == 100 + len(b"layer 0")
    assert usage.total == size + other - shared
    before = shelf.images.items()
    shelf.images.delete("a:2")
    assert shelf.images.given_back(before) == other - shared


def test_untagging_leaves_an_image_with_other_names(shelf: Shelf) -> None:
    id = shelf.put("a:1", "b:1")
    assert rows(shelf.images.delete("a:1")) == ["U a:1"]
    assert shelf.images.resolve("b:1").id == id


def test_the_last_name_takes_image_layers_and_blobs_along(shelf: Shelf) -> None:
    shelf.put("keep")
    before = shelf.stored()
    id = shelf.put("a:1", layers=3)
    deleted = rows(shelf.images.delete("a:1"))
    assert deleted[:2] == ["U a:1", f"D {id}"] and len(deleted) == 4  # two layers of its own, top first
    assert shelf.stored() == before
    assert [e.action for e in shelf.events.history(0)] == ["untag", "delete"]


def test_deleting_by_id_is_refused_with_several_repositories_and_forced_otherwise(shelf: Shelf) -> None:
    id = shelf.put("a:1", "b:1")
    with pytest.raises(Conflict) as caught:
        shelf.images.delete(id)
    assert caught.value.message == (
        f"conflict: unable to delete {id[7:19]} (must be forced) - image is referenced in multiple repositories"
    )
    assert rows(shelf.images.delete(id, force=True))[:3] == ["U a:1", "U b:1", f"D {id}"]


def test_containers_keep_their_image(shelf: Shelf) -> None:
    id = shelf.put("a:1")
    container = "c" * 64
    shelf.images.users = lambda image: [(container, False)]
    with pytest.raises(Conflict) as caught:
        shelf.images.delete("a:1")
    assert caught.value.message == (
        'conflict: unable to remove repository reference "a:1" (must force) - container '
        f"{container[:12]} is using its referenced image {id[7:19]}"
    )
    with pytest.raises(
        Conflict, match=rf"unable to delete {id[7:19]} \(must be forced\) - image is being used by stopped"
    ):
        shelf.images.delete(id)
    shelf.images.users = lambda image: [(container, True)]
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container c{12}$"):
        shelf.images.delete(id, force=True)
    # A forced untag of a used image leaves it without a name.
    assert rows(shelf.images.delete("a:1", force=True)) == ["U a:1"]
    assert shelf.images.resolve(id).repo_tags == []


def test_children_keep_their_parent_and_take_it_along(shelf: Shelf) -> None:
    below = shelf.put()
    top = shelf.put("top", layers=2, parent=below)
    with pytest.raises(Conflict, match="image has dependent child images"):
        shelf.images.delete(below, force=True)
    assert f"D {below}" in rows(shelf.images.delete("top")) and shelf.stored() == (0, 0)
    below, top = shelf.put(), shelf.put("top", layers=2, parent=below)
    assert rows(shelf.images.delete(top, prune=False)).count(f"D {below}") == 0


def test_the_last_name_of_a_parent_goes_and_the_parent_stays(shelf: Shelf) -> None:
    below = shelf.put("below:1")
    shelf.put("top", layers=2, parent=below)
    assert rows(shelf.images.delete("below:1")) == ["U below:1"]
    assert shelf.images.resolve(below).repo_tags == []


def test_layers_below_a_container_outlive_their_image(shelf: Shelf) -> None:
    id = shelf.put("a:1", layers=2)
    top = shelf.images.resolve(id).chain_id
    shelf.images.holdings.snapshots.prepare("box", top)
    shelf.images.delete("a:1", force=True)
    assert shelf.stored() == (0, 2)
    shelf.images.holdings.snapshots.remove("box")
    assert shelf.reopen().stored() == (0, 0)


async def test_a_lease_keeps_what_no_image_names_until_it_ends(shelf: Shelf) -> None:
    holdings = shelf.images.holdings
    async with holdings.lease() as lease:
        lease.hold(digest(b"x"))
        holdings.content.put(b"x")
        holdings.content.put(b"y")
        holdings.sweep()
        assert list(holdings.content.digests()) == [digest(b"x")]
    assert list(holdings.content.digests()) == []


def test_tagging_moves_a_name_and_refuses_lookalikes(shelf: Shelf) -> None:
    first, second = shelf.put("a:1"), shelf.put("b:1", layers=2)
    shelf.images.tag("b:1", "a", "1")
    assert shelf.images.resolve("a:1").id == second and shelf.images.resolve(first).repo_tags == []
    for repository, tag in (("sha256", "abc"), ("A", "1"), ("a", "-x")):
        with pytest.raises(InvalidParameter):
            shelf.images.tag("b:1", repository, tag)


def test_everything_is_there_after_a_restart_and_rubbish_is_not(shelf: Shelf) -> None:
    id = shelf.put("a:1", layers=2)
    stored = shelf.stored()
    holdings = shelf.images.holdings
    holdings.content.put(b"orphan")
    holdings.content.ingest_unnamed()
    half = holdings.snapshots.new_layer()
    again = shelf.reopen()
    assert again.images.resolve("a:1").id == id and again.stored() == stored
    assert not half.diff.exists() and not list((shelf.root / "ingest").iterdir())


def test_a_partial_download_survives_a_restart_and_is_verified_whole(shelf: Shelf) -> None:
    data = b"blob" * 1000
    with shelf.images.holdings.content.ingest(digest(data), len(data)) as ingest:
        ingest.write(data[:1500])
        with pytest.raises(IngestBusy):
            shelf.images.holdings.content.ingest(digest(data), len(data))
    content = shelf.reopen().images.holdings.content
    with content.ingest(digest(data), len(data)) as ingest:
        assert ingest.partial == 1500 and b"".join(ingest.replay()) == data[:1500]
        ingest.write(data[1500:])
        ingest.commit()
    assert content.read(digest(data)) == data
    with content.ingest(digest(b"x"), 1) as ingest:
        ingest.write(b"y")
        with pytest.raises(DigestMismatch, match=digest(b"x")):
            ingest.commit()
    assert not content.exists(digest(b"x"))


def test_listing_five_hundred_images_reads_no_file_twice(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        shelf.put(f"a{number}:1", created=f"2025-01-01T00:00:{number % 60:02d}Z", Labels={"n": str(number)})
    assert len(shelf.images.list()) == 500
    monkeypatch.setattr(shelf.images.holdings.content, "read", None)
    assert len(shelf.images.list(filters={"label": ["n=7"]})) == 1


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("busybox", "busybox:latest", True),
        ("busy*", "busybox:latest", True),
        ("*", "team/busybox:latest", False),
        ("*/*", "team/busybox:latest", True),
        ("busybox:l[a-b]test", "busybox:latest", True),
        ("busybox:l[^a]test", "busybox:latest", False),
        (r"busy\box", "busybox:1", True),
        ("reg:5000/a", "reg:5000/a:1", True),
        ("busybox", "busybox@sha256:" + "a" * 64, True),
    ],
)
def test_reference_patterns(pattern: str, name: str, fits: bool) -> None:
    assert listing.familiar_match(pattern, name) is fits


def test_durations_and_times() -> None:
    assert listing.moment("1h30m", 10_000) == 4600 and listing.moment("1700000000", 0) == 1_700_000_000
    assert listing.moment("2026-01-01T00:00:00Z", 0) == listing.seconds("2026-01-01T00:00:00Z") == 1767225600
    assert listing.seconds("") == listing.seconds("0001-01-01T00:00:00Z") == listing.seconds("junk") == 0


async def test_hello_is_pulled_without_a_registry(shelf: Shelf) -> None:
    told: list[dict[str, Any]] = []
    await shelf.images.pull("sampan/hello", None, None, told.append)
    image = shelf.images.resolve("sampan/hello")
    assert told[0] == {"status": "Pulling from sampan/hello", "id": "latest"}
    assert told[-1] == {"status": "Status: Downloaded newer image for sampan/hello:latest"}
    assert image.repo_digests == ["sampan/hello@" + digest(hello.build()[0])] and image.config.config.cmd == ["/hello"]
    await shelf.images.pull("sampan/hello:latest", None, None, told.append)
    assert told[-1] == {"status": "Status: Image is up to date for sampan/hello:latest"}
    shelf.images.delete("sampan/hello")
    assert shelf.stored() == (0, 0)
    await shelf.images.close()


async def test_save_and_load_keep_ids_and_names(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.images.pull("sampan/hello", None, None, lambda _: None)
    shelf.images.tag("sampan/hello", "sampan/hello", "2")
    saved = b"".join([chunk async for chunk in shelf.images.save(["sampan/hello"])])
    assert saved == b"".join([chunk async for chunk in shelf.images.save(["sampan/hello"])])
    other = Shelf(tmp_path / "other")

    async def archive() -> AsyncIterator[bytes]:
        for start in range(0, len(saved), 999):
            yield saved[start : start + 999]
            await asyncio.sleep(0)

    told: list[dict[str, Any]] = []
    loaded = await other.images.load(archive(), told.append)
    assert loaded == ["sampan/hello:2", "sampan/hello:latest"]
    assert {"stream": "Loaded image: sampan/hello:2\n"} in told
    ours, theirs = shelf.images.resolve("sampan/hello"), other.images.resolve("sampan/hello:2")
    assert (ours.id, ours.manifest_digest) == (theirs.id, theirs.manifest_digest)
    with pytest.raises(NotFound):
        shelf.images.save(["sampan/hello", "nosuch"])
    await other.images.close()
    await shelf.images.close()
    other.database.close()


async def test_an_archive_cut_anywhere_leaves_nothing(shelf: Shelf) -> None:
    data = hello.archive(hello.layout())
    cuts = [0, 100, 512, 1024, 5000, len(data) // 2, len(data) - 3000]
    for cut in cuts:

        async def archive(cut: int = cut) -> AsyncIterator[bytes]:
            yield data[:cut]

        with pytest.raises(InvalidParameter):
            await shelf.images.load(archive(), lambda _: None)
        assert shelf.stored() == (0, 0) and not list((shelf.root / "ingest").iterdir())
    await shelf.images.close()


@pytest.mark.parametrize(
    ("architecture", "bits", "machine"),
    [("amd64", 2, 62), ("386", 1, 3), ("arm64", 2, 183), ("arm", 1, 40), ("riscv64", 2, 243)],
)
def test_hello_is_a_static_executable_of_its_architecture(architecture: str, bits: int, machine: int) -> None:
    binary = hello.elf(architecture)
    assert binary[:4] == b"\x7fELF" and binary[4] == bits and binary[5] == 1
    assert int.from_bytes(binary[16:18], "little") == 2 and int.from_bytes(binary[18:20], "little") == machine
    entry = int.from_bytes(binary[24:32] if bits == 2 else binary[24:28], "little")
    headers = int.from_bytes(binary[32:40] if bits == 2 else binary[28:32], "little")
    base = int.from_bytes(
        binary[headers + 16 : headers + 24] if bits == 2 else binary[headers + 8 : headers + 12], "little"
    )
    assert base < entry < base + len(binary) and binary.endswith(hello.TEXT.encode())


def test_hello_is_the_same_every_time() -> None:
    index, blobs = hello.build()
    hello.build.cache_clear()
    assert hello.build() == (index, blobs) and all(digest(blob) == key for key, blob in blobs.items())


def test_an_image_that_comes_packaged_otherwise_keeps_what_its_other_names_stand_for(shelf: Shelf) -> None:
    id = shelf.put("a:1")
    catalog, content = shelf.images.holdings.catalog, shelf.images.holdings.content
    old = catalog.images[id]
    other = content.put(b"layer 0, compressed")
    made = msgspec.structs.replace(old, manifest=content.put(b"another manifest"), layers=[other])
    assert catalog.put(id, made, [(parse("b:1"), made.manifest)]) == set()
    assert set(old.layers) <= catalog.blobs_of(id, catalog.images[id])  # a:1 is pushed as it was
    again = msgspec.structs.replace(old)
    gone = catalog.put(id, again, [(parse("a:1"), again.manifest), (parse("b:1"), again.manifest)])
    assert other in gone
