"""Volumes without containers: names, options, filters, and what a crash leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.errors import Conflict, InvalidParameter, NotFound
from sampan.store import Database, EventLog
from sampan.volumes import Volumes, local
from sampan.volumes.model import ANONYMOUS_LABEL


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = Database(root / "state.db")
        self.events = EventLog(self.database)
        self.volumes = Volumes(root, self.database, self.events)

    def restart(self) -> Volumes:
        self.volumes = Volumes(self.root, self.database, self.events)
        return self.volumes

    def actions(self) -> list[tuple[str, str]]:
        return [(event.action, event.id) for event in self.events.history(0)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_volume_is_made_once_and_keeps_its_labels(bench: Bench) -> None:
    first = bench.volumes.create("data", labels={"a": "b"})
    again = bench.volumes.create("data", labels={"c": "d"})
    assert (first.labels, again.labels) == ({"a": "b"}, {"a": "b"})
    assert bench.volumes.mountpoint("data").is_dir()
    bench.volumes.remove("data")
    assert not (bench.root / "volumes/data").exists()
    assert bench.actions() == [("create", "data"), ("destroy", "data")]


@pytest.mark.parametrize("name", ["a!", "../x", "-a", ".a", "a/b", "x"])
def test_a_bad_name_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        bench.volumes.create(name)
    if name != "x":
        assert caught.value.message == (
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    assert bench.volumes.all() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foo": "bar"}, 'create vv: invalid option: "foo"'),
        ({"device": "/x"}, 'create vv: missing required option: "type"'),
        ({"type": "tmpfs"}, 'create vv: missing required option: "device"'),
        ({"type": "tmpfs", "device": "tmpfs", "size": "1m"}, "create vv: quota size requested but no quota support"),
    ],
)
def test_bad_driver_options_are_refused(bench: Bench, options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        bench.volumes.create("vv", options=options)
    assert caught.value.message == message
    assert not (bench.root / "volumes/vv").exists()


def test_mount_words_become_attributes_propagation_and_data() -> None:
    parsed = local.parse({"type": "nfs", "device": ":/export", "o": "addr=10.0.0.1,ro,nosuid,vers=4,soft,rslave"})
    assert parsed is not None
    assert parsed.data == [("addr", "10.0.0.1"), ("vers", "4"), ("soft", None)]
    assert (parsed.attributes, parsed.propagation, parsed.bind) == (1 | 2, "rslave", False)


def test_an_unknown_driver_is_refused(bench: Bench) -> None:
    with pytest.raises(NotFound) as caught:
        bench.volumes.create("vv", driver="nope")
    assert caught.value.message == 'create vv: error looking up volume plugin nope: plugin "nope" not found'


def test_a_used_volume_stays(bench: Bench) -> None:
    bench.volumes.users = lambda name: ["c1"] if name == "used" else []  # type: ignore[method-assign]
    bench.volumes.create("used")
    bench.volumes.create("held", holder="c2")
    for name, user in (("used", "c1"), ("held", "c2")):
        with pytest.raises(Conflict) as caught:
            bench.volumes.remove(name, force=True)
        assert caught.value.message == f"remove {name}: volume is in use - [{user}]"
    assert bench.volumes.prune({"all": ["true"]}) == ([], 0)
    bench.volumes.drop("held", "c2")
    bench.volumes.remove("held")
    with pytest.raises(NotFound, match=r"^get held: no such volume$"):
        bench.volumes.remove("held")
    bench.volumes.remove("held", force=True)


def test_prune_takes_anonymous_ones_unless_told(bench: Bench) -> None:
    anonymous = bench.volumes.create()
    assert anonymous.labels == {ANONYMOUS_LABEL: ""}
    bench.volumes.create("named", labels={"keep": "1"})
    bench.volumes.create("other")
    (bench.volumes.mountpoint(anonymous.name) / "file").write_bytes(b"x" * 1000)
    assert bench.volumes.prune() == ([anonymous.name], 1000)
    assert bench.volumes.prune({"all": ["1"], "label!": ["keep"]}) == (["other"], 0)
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'dangling'$"):
        bench.volumes.prune({"dangling": ["true"]})


def test_list_filters(bench: Bench) -> None:
    bench.volumes.users = lambda name: ["c1"] if name == "web-data" else []  # type: ignore[method-assign]
    bench.volumes.create("web-data", labels={"tier": "web"})
    bench.volumes.create("db-data", labels={"tier": "db"})

    def names(**filters: list[str]) -> list[str]:
        return [volume.name for volume in bench.volumes.list(filters)]

    assert names() == ["db-data", "web-data"]
    assert names(dangling=["true"]) == ["db-data"]
    assert names(dangling=["0"]) == ["web-data"]
    assert names(name=["web"]) == names(name=["^web"]) == names(label=["tier=web"]) == ["web-data"]
    assert names(label=["tier"], driver=["local"]) == ["db-data", "web-data"]
    assert names(driver=["x"]) == []
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'foo'$"):
        names(foo=["x"])
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'dangling=\[foo\]'$"):
        names(dangling=["foo"])


def test_a_half_made_volume_goes_and_lost_documents_come_back(bench: Bench) -> None:
    (bench.root / "volumes/half/_data").mkdir(parents=True)
    (bench.root / "volumes/lost/_data").mkdir(parents=True)
    (bench.root / "volumes/lost/_data/precious").write_text("data")
    assert [volume.name for volume in bench.restart().all()] == ["lost"]
    assert not (bench.root / "volumes/half").exists()
    assert (bench.volumes.mountpoint("lost") / "precious").read_text() == "data"


def test_a_half_removed_volume_is_removed_whole(bench: Bench) -> None:
    bench.volumes.create("gone")
    bench.volumes.create("again")
    root = bench.root / "volumes"
    (root / "gone").rename(root / ".removed-0a-gone")
    (root / ".removed-0b-again").mkdir()
    assert [volume.name for volume in bench.restart().all()] == ["again"]
    assert sorted(entry.name for entry in root.iterdir()) == ["again"]


def test_removal_does_not_follow_symlinks_out(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("stays")
    bench.volumes.create("links")
    (bench.volumes.mountpoint("links") / "out").symlink_to(outside)
    bench.volumes.remove("links")
    assert (outside / "file").read_text() == "stays"
