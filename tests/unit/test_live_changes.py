"""Ports and mounts that come and go: what `update` makes of a HostConfig, and whose a published port is."""

from __future__ import annotations

import pytest

from sampan.containers.life import changes
from sampan.containers.life.changes import Changes
from sampan.containers.model import Config, Container, HostConfig, Mount, MountPoint, PortBinding
from sampan.errors import Conflict, InvalidParameter
from sampan.networks import PortRequest, PublishedPort, assign


def binding(port: str = "", ip: str = "") -> PortBinding:
    return PortBinding(host_ip=ip, host_port=port)


def container(**host: object) -> Container:
    return Container(name="web", host_config=HostConfig(network_mode="bridge", **host))  # type: ignore[arg-type]


def changed_ports(box: Container, **given: dict[str, list[PortBinding]]) -> dict[str, list[tuple[str, str]]]:
    updated = HostConfig()
    changes.ports(box, updated, Changes(**given))  # type: ignore[arg-type]
    return {port: [(b.host_ip, b.host_port) for b in bound or []] for port, bound in updated.port_bindings.items()}  # type: ignore[union-attr]


def test_ports_come_beside_those_that_are_there() -> None:
    box = container(port_bindings={"80/tcp": [binding("8080")]})
    found = changed_ports(box, publish_add={"80/tcp": [binding("8081")], "53/udp": [binding("53", "127.0.0.1")]})
    assert found == {"80/tcp": [("", "8080"), ("", "8081")], "53/udp": [("127.0.0.1", "53")]}


def test_a_port_goes_by_its_own_words_or_by_the_number_it_got() -> None:
    box = container(port_bindings={"80/tcp": [binding("8080"), binding()], "81/tcp": [binding("8181")]})
    box.ports = {"80/tcp": [binding("8080", "0.0.0.0"), binding("32768", "0.0.0.0"), binding("32768", "::")]}
    assert changed_ports(box, publish_rm={"80/tcp": [binding("8080")]})["80/tcp"] == [("", "")]
    assert changed_ports(box, publish_rm={"80/tcp": [binding("32768")]})["80/tcp"] == [("", "8080")]
    assert changed_ports(box, publish_rm={"80/tcp": [binding()]}) == {"81/tcp": [("", "8181")]}


def test_what_p_all_published_is_said_port_by_port_afterwards() -> None:
    box = container(publish_all_ports=True)
    box.config = Config(exposed_ports={"80/tcp": {}, "81/tcp": {}})
    updated = HostConfig(publish_all_ports=True)
    changes.ports(box, updated, Changes(publish_rm={"80/tcp": [binding()]}))
    assert not updated.publish_all_ports
    assert updated.port_bindings == {"81/tcp": [binding()]}


def test_a_port_that_is_not_published_cannot_go() -> None:
    with pytest.raises(InvalidParameter, match=r"port 8080:80/tcp is not published by container web"):
        changed_ports(container(), publish_rm={"80/tcp": [binding("8080")]})


@pytest.mark.parametrize(
    ("mode", "error"), [("host", Conflict), ("none", Conflict), ("container:abc", InvalidParameter)]
)
def test_ports_need_a_network_of_the_containers_own(mode: str, error: type[Exception]) -> None:
    box = container()
    box.host_config.network_mode = mode
    with pytest.raises(error):
        changed_ports(box, publish_add={"80/tcp": [binding("8080")]})


def test_each_request_owns_its_ports_the_most_exact_first() -> None:
    requests = [PortRequest(80), PortRequest(80, host_port="8000-8010"), PortRequest(80, host_port="8001")]
    ports = [PublishedPort(80, "tcp", ip, number) for number in (8001, 8000, 40000) for ip in ("0.0.0.0", "::")] + [
        PublishedPort(81, "tcp", "0.0.0.0", 8002)
    ]
    owned = assign(requests, ports)
    assert [[port.host_port for port in ports] for ports in owned] == [[40000] * 2, [8000] * 2, [8001] * 2]
    assert assign([PortRequest(80, host_ip="127.0.0.1")], ports) == [[]]


def plan(box: Container, *, add: list[Mount] | None = None, rm: list[str] | None = None) -> changes.MountPlan:
    updated = HostConfig(binds=box.host_config.binds, mounts=box.host_config.mounts, tmpfs=box.host_config.tmpfs)
    found = changes.mounts(box, updated, Changes(mount_add=add, mount_rm=rm), "/var/lib/sampan")
    box.host_config, box.mounts = updated, found.points
    return found


def test_mounts_go_from_wherever_they_were_said() -> None:
    box = container(
        binds=["/src:/bound"],
        mounts=[Mount(type="volume", source="v", target="/vol/")],
        tmpfs={"/mem": "", "/kept": ""},
    )
    box.mounts = [
        MountPoint(type="bind", source="/src", destination="/bound"),
        MountPoint(type="volume", name="v", destination="/vol"),
        MountPoint(type="volume", name="x", destination="/inherited"),
    ]
    found = plan(box, rm=["/bound", "/vol", "/mem/", "/inherited"])
    assert [point.destination for point in found.removed] == ["/bound", "/vol", "/mem", "/inherited"]
    assert (found.points, box.host_config.binds, box.host_config.mounts) == ([], None, None)
    assert box.host_config.tmpfs == {"/kept": ""}
    with pytest.raises(InvalidParameter, match="container web has no mount at /bound"):
        plan(box, rm=["/bound"])


def test_one_request_puts_a_mount_in_the_place_of_another() -> None:
    box = container(mounts=[Mount(type="volume", source="old", target="/data")])
    box.mounts = [MountPoint(type="volume", name="old", destination="/data")]
    wanted = Mount(type="volume", source="new", target="/data")
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /data"):
        plan(box, add=[wanted])
    found = plan(box, rm=["/data"], add=[wanted])
    assert ([p.name for p in found.removed], [p.name for p in found.points]) == (["old"], ["new"])
    assert box.host_config.mounts == [wanted]


@pytest.mark.parametrize("target", ["/", "/proc", "/proc/sys", "//proc/..//proc", "relative", ""])
def test_no_mount_over_the_root_or_inside_proc(target: str) -> None:
    with pytest.raises(InvalidParameter):
        plan(container(), add=[Mount(type="tmpfs", target=target)])
