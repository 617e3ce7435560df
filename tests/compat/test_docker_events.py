"""`events`: what a life of each kind of object says, in order, to everybody, and again after the daemon's end."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.daemon import CONTROL, Daemon


@contextmanager
def told(daemon: Daemon, *flags: str) -> Iterator[list[dict[str, object]]]:
    """Fills the list with the events of the block."""
    events: list[dict[str, object]] = []
    since = f"{time.time():.9f}"
    yield events
    time.sleep(0.3)
    out = daemon.ok("events", "--since", since, "--until", f"{time.time():.9f}", "--format", "{{json .}}", *flags)
    events += [json.loads(line) for line in out.splitlines()]


def names(events: list[dict[str, object]]) -> list[str]:
    return [f"{event['Type']} {event['Action']}" for event in events]


def attributes(events: list[dict[str, object]], type: str, action: str) -> dict[str, str]:
    (found,) = [event["Actor"] for event in events if (event["Type"], event["Action"]) == (type, action)]
    return found["Attributes"]  # type: ignore[index, no-any-return]


def test_a_container_joins_says_and_leaves_in_order(daemon: Daemon, container_name: str) -> None:
    with told(daemon) as events:
        daemon.cli("run", "--rm", "--name", container_name, "-l", "a=b", "busybox", "sh", "-c", "exit 3")
    assert names(events) == [
        "container create", "container attach", "network connect", "container start",
        "network disconnect", "container die", "container destroy",
    ]  # fmt: skip
    died = attributes(events, "container", "die")
    assert died == {"a": "b", "execDuration": "0", "exitCode": "3", "image": "busybox", "name": container_name}
    container = events[0]["Actor"]["ID"]  # type: ignore[index]
    assert attributes(events, "network", "connect") == {"container": container, "name": "bridge", "type": "bridge"}
    assert all(event["scope"] == "local" for event in events)
    assert events[0]["status"] == "create" and events[0]["from"] == "busybox" and events[0]["id"] == container


def test_volumes_and_networks(daemon: Daemon, container_name: str) -> None:
    with told(daemon, "--filter", "type=volume", "--filter", "type=network") as events:
        daemon.ok("network", "create", "evnet")
        daemon.ok("volume", "create", "evvol")
        daemon.ok("run", "--name", container_name, "--network", "evnet", "-v", "evvol:/data:ro", "busybox", "true")
        daemon.ok("rm", container_name)
        daemon.ok("network", "rm", "evnet")
        daemon.ok("volume", "rm", "evvol")
    found = names(events)
    assert sorted(found[2:4]) == ["network connect", "volume mount"]
    assert found[:2] + found[4:] == [
        "network create", "volume create", "network disconnect", "volume unmount", "network destroy", "volume destroy",
    ]  # fmt: skip
    mounted = attributes(events, "volume", "mount")
    assert {key: mounted[key] for key in ("destination", "driver", "read/write", "propagation")} == {
        "destination": "/data", "driver": "local", "read/write": "false", "propagation": "",
    }  # fmt: skip


def test_images_are_tagged_before_they_are_said_to_be_there_and_gone_without_labels(daemon: Daemon) -> None:
    with told(daemon, "--filter", "type=image") as events:
        daemon.ok("import", "--change", "LABEL a=b", "-", "evimg:1", input="\0" * 10240)
        daemon.ok("rmi", "evimg:1")
    assert names(events) == ["image tag", "image import", "image untag", "image delete"]
    assert attributes(events, "image", "tag") == {"a": "b", "name": "evimg:1"}
    image = events[0]["Actor"]["ID"]  # type: ignore[index]
    assert attributes(events, "image", "untag") == {"a": "b", "name": image}
    assert attributes(events, "image", "delete") == {"name": image}


@pytest.mark.skipif(bool(CONTROL), reason="dockerd's classic builder makes containers")
def test_a_build_is_no_container(daemon: Daemon) -> None:
    with told(daemon) as events:
        daemon.ok("build", "-q", "-t", "evbuilt", "-", input="FROM busybox\nRUN echo $RANDOM\n")
    assert names(events) == ["image tag"]


def test_filters_of_different_kinds_agree_and_values_of_one_kind_add_up(daemon: Daemon, container_name: str) -> None:
    with told(daemon, "--filter", "event=start", "--filter", "event=die", "--filter", "label=a") as events:
        daemon.ok("run", "--name", container_name, "-l", "a=b", "busybox", "true")
        daemon.ok("run", "--rm", "busybox", "true")
    assert names(events) == ["container start", "container die"]
    with told(daemon, "--filter", f"container={container_name}", "--filter", "event=exec_create") as events:
        daemon.ok("start", container_name)
        daemon.cli("exec", container_name, "true")
    assert not events  # it does not run that long
    with told(daemon, "--filter", "image=busybox", "--filter", "event=destroy") as events:
        daemon.ok("rm", container_name)
    assert names(events) == ["container destroy"]


def test_fifty_listeners_all_hear_everything_in_the_same_order(daemon: Daemon) -> None:
    sockets = []
    for _ in range(50):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(daemon.socket))
        client.settimeout(30)
        client.sendall(b'GET /events?filters={"type":["volume"]} HTTP/1.1\r\nHost: d\r\n\r\n')
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        sockets.append(client)
    heard: dict[int, list[str]] = {}

    def listen(number: int) -> None:
        data = b""
        while data.count(b'"Action":"destroy"') < 100:
            data += sockets[number].recv(1 << 16)
        lines = [line for line in data.splitlines() if line.startswith(b"{")]
        heard[number] = [f"{event['Action']} {event['Actor']['ID']}" for event in map(json.loads, lines)]

    threads = [threading.Thread(target=listen, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for number in range(100):
        daemon.api("POST", "/volumes/create", {"Name": f"many{number}"})
    for number in range(100):
        daemon.api("DELETE", f"/volumes/many{number}")
    for thread in threads:
        thread.join(60)
    for client in sockets:
        client.close()
    assert len(heard) == 50 and all(one == heard[0] for one in heard.values())
    assert heard[0] == [f"{action} many{number}" for action in ("create", "destroy") for number in range(100)]


@pytest.mark.skipif(bool(CONTROL), reason="dockerd forgets its events")
def test_the_past_outlives_the_daemon(daemon: Daemon) -> None:
    since = f"{time.time():.9f}"
    daemon.ok("volume", "create", "remembered")
    until = f"{time.time():.9f}"
    daemon.kill()
    daemon.start()
    said = daemon.ok(
        "events", "--since", since, "--until", until, "--filter", "volume=remembered", "--format", "{{.Action}}"
    )
    assert said == "create"
    daemon.ok("volume", "rm", "remembered")
