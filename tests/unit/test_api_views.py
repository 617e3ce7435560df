"""What Docker's JSON says of a container, and which containers a list shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.api import listing, timestamps
from sampan.api.filters import Filters
from sampan.api.views import container as views
from sampan.api.views import event as event_views
from sampan.api.views import image as image_views
from sampan.containers.model import (
    Config,
    Container,
    EndpointSettings,
    Health,
    HostConfig,
    MountPoint,
    PortBinding,
    State,
    Status,
)
from sampan.errors import InvalidParameter, NotFound
from sampan.images.model import Image, ImageConfig
from sampan.store import Event

SECOND = 1_000_000_000


def container(name: str = "c", number: int = 1, **fields: object) -> Container:
    defaults: dict[str, object] = {
        "id": f"{number:064x}",
        "name": name,
        "image_id": "sha256:1",
        "path": "sleep",
        "args": ["10", "a b"],
        "host_config": HostConfig(network_mode="bridge"),
    }
    return Container(**{**defaults, **fields})  # type: ignore[arg-type]


def state(status: Status = Status.RUNNING, **fields: object) -> State:
    return State(status=status, started_at=SECOND, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (state(), "Up 5 seconds"),
        (state(health=Health(status="starting")), "Up 5 seconds (health: starting)"),
        (state(health=Health(status="unhealthy")), "Up 5 seconds (unhealthy)"),
        (state(Status.PAUSED), "Up 5 seconds (Paused)"),
        (state(Status.RESTARTING, exit_code=1, finished_at=SECOND), "Restarting (1) 5 seconds ago"),
        (state(Status.EXITED, exit_code=3, finished_at=SECOND), "Exited (3) 5 seconds ago"),
        (State(status=Status.CREATED), "Created"),
        (state(Status.DEAD), "Dead"),
    ],
)
def test_status_is_what_docker_prints(value: State, text: str) -> None:
    assert views.status_text(container(state=value), 6 * SECOND) == text


def test_times_are_gos() -> None:
    assert timestamps.rfc3339(0) == "0001-01-01T00:00:00Z"
    assert timestamps.rfc3339(SECOND) == "1970-01-01T00:00:01Z"
    assert timestamps.rfc3339(1_120_000_000) == "1970-01-01T00:00:01.12Z"
    assert timestamps.parse("5.000000001") == 5 * SECOND + 1
    assert timestamps.parse("5.5") == 5 * SECOND + 500_000_000


# The keys dockerd 26.1 (API 1.45) prints for a container with none of the optional settings.
INSPECT_KEYS = (
    "AppArmorProfile Args Config Created Driver ExecIDs GraphDriver HostConfig HostnamePath HostsPath Id Image LogPath "
    "MountLabel Mounts Name NetworkSettings Path Platform ProcessLabel ResolvConfPath RestartCount State"
)
HOST_CONFIG_KEYS = (
    "AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight "
    "BlkioWeightDevice CapAdd CapDrop Cgroup CgroupParent CgroupnsMode ConsoleSize ContainerIDFile CpuCount CpuPercent "
    "CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus CpusetMems DeviceCgroupRules "
    "DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth IOMaximumIOps IpcMode "
    "Isolation Links LogConfig MaskedPaths Memory MemoryReservation MemorySwap MemorySwappiness NanoCpus NetworkMode "
    "OomKillDisable OomScoreAdj PidMode PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths "
    "ReadonlyRootfs RestartPolicy SecurityOpt ShmSize UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom"
)
CONFIG_KEYS = (
    "AttachStderr AttachStdin AttachStdout Cmd Domainname Entrypoint Env Hostname Image Labels OnBuild OpenStdin "
    "StdinOnce Tty User Volumes WorkingDir"
)


def test_inspect_has_dockerds_keys() -> None:
    shown = views.inspect(container(), (1, 45), files=Path("/f"))
    assert " ".join(sorted(shown)) == INSPECT_KEYS
    assert " ".join(sorted(shown["HostConfig"])) == HOST_CONFIG_KEYS
    assert " ".join(sorted(shown["Config"])) == CONFIG_KEYS
    assert shown["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"


def test_fields_appear_with_the_version_that_brought_them() -> None:
    one = container(networking={"n": EndpointSettings(), "bridge": EndpointSettings()}, config=Config(hostname="h"))
    old = views.inspect(one, (1, 44), files=Path("/f"))["NetworkSettings"]["Networks"]
    new = views.inspect(one, (1, 48), files=Path("/f"))["NetworkSettings"]["Networks"]
    assert old["n"]["Aliases"] == ["000000000000", "h"]
    assert old["bridge"]["Aliases"] is None
    assert "GwPriority" not in old["n"]
    assert (new["n"]["Aliases"], new["n"]["GwPriority"]) == (None, 0)


def test_old_clients_find_an_images_container_config() -> None:
    """Compose v1 calls `.get` on it."""
    image = Image("sha256:1", ImageConfig(), "sha256:2")
    assert image_views.inspect(image, (1, 44))["ContainerConfig"]["Volumes"] is None
    assert "ContainerConfig" not in image_views.inspect(image, (1, 45))


def test_a_row_shows_published_and_exposed_ports_while_it_runs() -> None:
    fields = {
        "config": Config(exposed_ports={"80/tcp": {}, "9/udp": {}}),
        "ports": {"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]},
    }
    row = views.summary(container(state=state(), **fields), (1, 51), 6 * SECOND, "busybox")
    assert row["Ports"] == [
        {"PrivatePort": 9, "Type": "udp"},
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
    ]
    assert row["Command"] == "sleep 10 'a b'"
    assert views.summary(container(**fields), (1, 51), 0, "busybox")["Ports"] == []


FOUR = [
    container("new", 4, state=state(), config=Config(labels={"a": "1"}), networking={"net": EndpointSettings()}),
    container("dead", 3, state=state(Status.EXITED, exit_code=3, finished_at=1), image_id="sha256:2"),
    container("port", 2, state=state(), ports={"80/tcp": [PortBinding(host_port="8080")]}),
    container("old", 1, state=state(), mounts=[MountPoint(name="vol", destination="/data")]),
]


def names(filters: dict[str, list[str]], *, all: bool = False, limit: int = 0) -> str:
    def find(ref: str) -> Container:
        for one in FOUR:
            if one.name == ref:
                return one
        raise NotFound(ref)

    selection = listing.select(Filters(filters), all=all, limit=limit, find=find, ancestors=lambda ref: [ref])
    return " ".join(one.name for one in listing.chosen(FOUR, selection))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "new port old"),
        ({"status": ["exited"]}, "dead"),
        ({"status": ["exited", "running"]}, "new dead port old"),
        ({"exited": ["3"]}, ""),
        ({"name": ["o"]}, "port old"),
        ({"name": ["^/old$"]}, "old"),
        ({"id": [f"{4:064x}"]}, "new"),
        ({"label": ["a"]}, "new"),
        ({"label": ["a=2"]}, ""),
        ({"before": ["port"]}, "old"),
        ({"since": ["port"]}, "new"),
        ({"network": ["net"]}, "new"),
        ({"volume": ["vol"]}, "old"),
        ({"volume": ["/data"]}, "old"),
        ({"publish": ["8080"]}, "port"),
        ({"publish": ["8000-8100/tcp"]}, "port"),
        ({"expose": ["80"]}, "port"),
        ({"expose": ["80/udp"]}, ""),
        ({"ancestor": ["sha256:1"]}, "new port old"),
        ({"health": ["none"]}, "new port old"),
        ({"is-task": ["false"]}, "new port old"),
        ({"is-task": ["true"]}, ""),
        ({"isolation": ["anything"]}, "new port old"),
    ],
)
def test_every_list_filter(filters: dict[str, list[str]], expected: str) -> None:
    assert names(filters) == expected


def test_limit_counts_what_does_not_run_too() -> None:
    assert names({}, limit=2) == "new dead"
    assert names({"exited": ["3"]}, all=True) == "dead"


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"status": ["y"]}, "invalid filter 'status=y'"),
        ({"health": ["y"]}, "invalid filter 'health=y'"),
        ({"publish": ["1:2"]}, "filter for 'publish' should not contain ':': 1:2"),
        ({"expose": ["y"]}, "error while looking up for expose y"),
    ],
)
def test_bad_filter_values_are_named(filters: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        names(filters)
    assert raised.value.message.startswith(message)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"event": ["health_status"]}, True),
        ({"event": ["start"]}, False),
        ({"type": ["container"], "container": ["web"]}, True),
        ({"container": ["other"]}, False),
        ({"image": ["nginx"]}, True),
        ({"image": ["nginx:1"]}, True),
        ({"image": ["busybox"]}, False),
        ({"label": ["tier=front"]}, True),
        ({"label": ["tier=back"]}, False),
        ({"scope": ["swarm"]}, False),
    ],
)
def test_event_filters(filters: dict[str, list[str]], wanted: bool) -> None:
    attributes = {"name": "web", "image": "nginx:1", "tier": "front"}
    event = Event("container", "health_status: healthy", "f" * 64, attributes, 1)
    assert event_views.wanted(event, Filters(filters), (1, 51)) is wanted


def test_filters_in_both_spellings() -> None:
    assert Filters.parse('{"a":["1","2"]}').get("a") == ["1", "2"]
    assert Filters.parse('{"a":{"1":true,"2":false}}').get("a") == ["1"]
    for bad in ("[]", '{"a":1}', "x", '{"a":[1]}'):
        with pytest.raises(InvalidParameter, match="invalid filter"):
            Filters.parse(bad)
