"""The state file: names are unique, transactions are whole, events keep their order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from sampan.store import Database, Documents, EventLog, NameTaken, events
from sampan.store.events import HISTORY


class Thing(msgspec.Struct):
    size: int = 0


@pytest.fixture
def database() -> Database:
    return Database(None)


def test_a_document_comes_back_as_it_was_put(database: Database) -> None:
    things = Documents(database, "thing", Thing)
    things.put("1", Thing(5), name="five")
    assert things.get("1") == Thing(5)
    assert things.named("five") == ("1", Thing(5))
    assert things.get("2") is None and things.named("six") is None


def test_a_name_belongs_to_one_document_of_a_kind(database: Database) -> None:
    things, others = Documents(database, "thing", Thing), Documents(database, "other", Thing)
    things.put("1", Thing(), name="taken")
    others.put("1", Thing(), name="taken")
    with pytest.raises(NameTaken) as taken:
        things.put("2", Thing(), name="taken")
    assert taken.value.owner == "1"
    assert things.get("2") is None
    things.put("1", Thing(9), name="renamed")
    things.put("2", Thing(), name="taken")


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    things = Documents(database, "thing", Thing)
    with pytest.raises(RuntimeError), database.transaction():
        things.put("1", Thing())
        raise RuntimeError
    assert things.all() == []


def test_state_survives_without_a_clean_close(tmp_path: Path) -> None:
    Documents(Database(tmp_path / "state.db"), "thing", Thing).put("1", Thing(3))
    assert Documents(Database(tmp_path / "state.db"), "thing", Thing).get("1") == Thing(3)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with database.transaction() as connection:
        connection.execute("PRAGMA user_version=999")
    with pytest.raises(RuntimeError, match="newer sampan"):
        Database(tmp_path / "state.db")


def test_events_are_ordered_even_when_the_clock_jumps_back(database: Database) -> None:
    times = iter([100, 50, 50, 200])
    log = EventLog(database, clock=lambda: next(times))
    published = [log.publish("container", action, "id") for action in ("create", "start", "die", "destroy")]
    assert [event.time for event in published] == [100, 101, 102, 200]
    assert [event.action for event in log.history(0)] == ["create", "start", "die", "destroy"]
    assert [event.action for event in log.history(101, 102)] == ["start", "die"]


def test_the_history_is_bounded(database: Database) -> None:
    log = EventLog(database)
    for number in range(HISTORY + 10):
        log.publish("image", "pull", str(number))
    assert next(iter(log.history(0))).id == "10"


def test_the_history_survives_the_daemon(tmp_path: Path) -> None:
    EventLog(Database(tmp_path / "state.db")).publish("volume", "create", "data", {"driver": "local"})
    (event,) = EventLog(Database(tmp_path / "state.db")).history(0)
    assert (event.type, event.action, event.id, event.attributes) == ("volume", "create", "data", {"driver": "local"})


async def test_a_listener_that_never_reads_is_let_go(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BACKLOG", 5)
    log = EventLog(database)
    log.bind(asyncio.get_running_loop())
    deaf, awake = log.subscribe(), log.subscribe()
    heard = aiter(awake)
    for number in range(10):
        log.publish("network", "create", str(number))
        assert (await anext(heard)).id == str(number)
    assert [event.id async for event in deaf] == ["0", "1", "2", "3", "4"]
    assert log.listeners == 1


async def test_every_listener_gets_every_event(database: Database) -> None:
    log = EventLog(database)
    log.bind(asyncio.get_running_loop())
    listeners = [log.subscribe() for _ in range(3)]
    await asyncio.to_thread(lambda: [log.publish("network", "create", str(number)) for number in range(50)])
    await asyncio.sleep(0)
    for listener in listeners:
        listener.close()
        assert [event.id async for event in listener] == [str(number) for number in range(50)]
