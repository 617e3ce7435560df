"""Container documents as OCI specs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sampan.containers.model import Config, Container, DeviceMapping, ExecConfig, HostConfig, Ulimit
from sampan.containers.spec import oci
from sampan.errors import InvalidParameter, SampanError
from sampan.runtime import capabilities, cgroups

ID = "a" * 64


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:\nann:x:1000:100::/home/ann:\n")
    return tmp_path


@pytest.fixture(autouse=True)
def unified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "mode", lambda: cgroups.Mode.V2)


def spec(
    rootfs: Path, *, host: HostConfig | None = None, config: Config | None = None, **prepared: Any
) -> dict[str, Any]:
    container = Container(
        id=ID, path="sh", args=["-c", "x"], config=config or Config(hostname="boxed"), host_config=host or HostConfig()
    )
    return oci.container_spec(container, oci.Prepared(rootfs=rootfs, cgroup_parent="/sampan", **prepared))


def mounts(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in found["mounts"]}


def namespaces(found: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry.get("path", "") for entry in found["linux"]["namespaces"]}


def test_defaults_are_dockers(rootfs: Path) -> None:
    found = spec(rootfs, netns=Path("/run/ns"))
    assert found["process"]["args"] == ["sh", "-c", "x"]
    assert found["process"]["env"] == [f"PATH={oci.DEFAULT_PATH}", "HOSTNAME=boxed", "HOME=/root"]
    assert found["process"]["cwd"] == "/" and found["hostname"] == "boxed"
    caps = found["process"]["capabilities"]
    assert set(caps) == {"bounding", "effective", "permitted"} and len(caps["bounding"]) <= 14
    assert namespaces(found) == {"mount": "", "pid": "", "ipc": "", "uts": "", "network": "/run/ns", "cgroup": ""}
    assert found["linux"]["cgroupsPath"] == f"/sampan/{ID}"
    assert found["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"/proc/kcore", "/proc/interrupts", "/sys/firmware"} <= set(found["linux"]["maskedPaths"])
    assert "/proc/sys" in found["linux"]["readonlyPaths"]
    assert found["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert found["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    assert [m["destination"] for m in found["mounts"]] == [
        *("/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm")
    ]
    assert "ro" in mounts(found)["/sys"]["options"] and "size=67108864" in mounts(found)["/dev/shm"]["options"]


def test_the_environment_is_set_in_place_and_unset(rootfs: Path) -> None:
    config = Config(hostname="h", tty=True, env=["A=1", "PATH=/x", "B=", "HOSTNAME", "A=2=3"])
    found = oci.environment(config, "/root", tty=True, extra=["B=4"])
    assert found == ["PATH=/x", "TERM=xterm", "A=2=3", "B=4", "HOME=/root"]


def test_shared_namespaces(rootfs: Path) -> None:
    host = HostConfig(
        network_mode="container:c",
        pid_mode="container:c",
        ipc_mode="container:c",
        uts_mode="host",
        cgroupns_mode="host",
    )
    found = spec(rootfs, host=host, peer=lambda ref: oci.Peer(42, Path(f"/shm/{ref}")))
    assert namespaces(found) == {
        "mount": "",
        "pid": "/proc/42/ns/pid",
        "ipc": "/proc/42/ns/ipc",
        "network": "/proc/42/ns/net",
    }
    assert mounts(found)["/dev/shm"]["source"] == "/shm/c"
    assert "hostname" not in found and "sysctl" not in found["linux"]
    with pytest.raises(SampanError, match="not shareable"):
        spec(rootfs, host=host, peer=lambda ref: oci.Peer(42))


def test_privileged_has_everything_and_hides_nothing(rootfs: Path) -> None:
    found = spec(rootfs, host=HostConfig(privileged=True))
    assert found["process"]["capabilities"]["bounding"] == list(capabilities.available())
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & set(found["linux"])
    assert found["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "ro" not in mounts(found)["/sys"]["options"] and "ro" not in mounts(found)["/sys/fs/cgroup"]["options"]
    assert any(device["path"] == "/dev/null" for device in found["linux"]["devices"])


def test_a_read_only_root_leaves_the_kernels_places_writable(rootfs: Path) -> None:
    files = {"/etc/hosts": rootfs / "hosts"}
    user = {"destination": "/data", "type": "bind", "source": "/x", "options": ["rbind"]}
    found = spec(rootfs, host=HostConfig(readonly_rootfs=True), files=files, mounts=[user])
    assert found["root"]["readonly"]
    read_only = {path for path, mount in mounts(found).items() if "ro" in mount["options"]}
    assert read_only == {"/sys", "/sys/fs/cgroup", "/etc/hosts"}


def test_a_users_mount_takes_the_place_of_ours(rootfs: Path) -> None:
    shm = {"destination": "/dev/shm", "type": "bind", "source": "/x", "options": ["rbind"]}
    assert [m for m in spec(rootfs, mounts=[shm])["mounts"] if m["destination"] == "/dev/shm"] == [shm]
    dev = {"destination": "/dev", "type": "bind", "source": "/x", "options": ["rbind"]}
    assert not [m for m in spec(rootfs, mounts=[dev])["mounts"] if m["destination"].startswith("/dev/")]


def test_init_goes_before_the_command_but_not_into_foreign_pid_namespaces(
    rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci, "find", lambda name: f"/usr/bin/{name}")
    found = spec(rootfs, host=HostConfig(init=True))
    assert found["process"]["args"] == ["/sbin/docker-init", "--", "sh", "-c", "x"]
    assert mounts(found)["/sbin/docker-init"]["options"] == ["bind", "ro"]
    assert spec(rootfs, host=HostConfig(init=True, pid_mode="host"))["process"]["args"] == ["sh", "-c", "x"]


def test_limits(rootfs: Path) -> None:
    host = HostConfig(
        memory=64 << 20,
        memory_swap=-1,
        nano_cpus=1_500_000_000,
        pids_limit=5,
        cpuset_cpus="0",
        ulimits=[Ulimit(name="nofile", soft=1, hard=-1)],
    )
    found = spec(rootfs, host=host)
    resources = found["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20, "swap": -1}
    assert resources["cpu"] == {"period": 100_000, "quota": 150_000, "cpus": "0"}
    assert resources["pids"] == {"limit": 5}
    assert found["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}]


def test_devices_and_their_rules(rootfs: Path) -> None:
    host = HostConfig(
        devices=[DeviceMapping(path_on_host="/dev/null", path_in_container="/dev/x", cgroup_permissions="r")],
        device_cgroup_rules=["c 42:* rwm"],
    )
    linux = spec(rootfs, host=host)["linux"]
    assert [(device["path"], device["major"], device["minor"]) for device in linux["devices"]] == [("/dev/x", 1, 3)]
    assert linux["resources"]["devices"][-2:] == [
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"},
        {"allow": True, "type": "c", "major": 42, "minor": -1, "access": "rwm"},
    ]
    for bad, message in (
        (HostConfig(device_cgroup_rules=["x"]), "invalid device cgroup rule format: 'x'"),
        (
            HostConfig(devices=[DeviceMapping(path_on_host="/dev/nosuch")]),
            'custom device "/dev/nosuch": no such file or directory',
        ),
        (
            HostConfig(devices=[DeviceMapping(path_on_host="/etc/passwd")]),
            'custom device "/etc/passwd": not a device node',
        ),
    ):
        with pytest.raises(SampanError, match=message):
            spec(rootfs, host=bad)


@pytest.mark.parametrize(
    ("mode", "name", "message"),
    [
        ({}, "kernel.foo", 'sysctl "kernel.foo" is not in a separate kernel namespace'),
        (
            {"network_mode": "host"},
            "net.ipv4.ip_forward",
            'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
        ),
        ({"ipc_mode": "host"}, "kernel.shmmax", 'sysctl "kernel.shmmax" is not allowed in the hosts ipc namespace'),
        ({}, "kernel/../vm", "is not in a separate kernel namespace"),
    ],
)
def test_only_namespaced_sysctls(rootfs: Path, mode: dict[str, str], name: str, message: str) -> None:
    with pytest.raises(SampanError, match=message.replace(".", "[.]")):
        spec(rootfs, host=HostConfig(sysctls={name: "1"}, **mode))


def test_security_options(rootfs: Path) -> None:
    host = HostConfig(security_opt=["no-new-privileges", "seccomp=unconfined", "label=disable", "apparmor=unconfined"])
    found = spec(rootfs, host=host)
    assert found["process"]["noNewPrivileges"] and "seccomp" not in found["linux"]
    assert "maskedPaths" not in spec(rootfs, host=HostConfig(masked_paths=[], readonly_paths=[]))["linux"]
    for bad in ("foo", "foo=x", "no-new-privileges=maybe"):
        with pytest.raises(InvalidParameter, match="invalid --security-opt"):
            oci.check(HostConfig(security_opt=[bad]))


def test_capabilities_are_added_and_dropped() -> None:
    effective = capabilities.effective
    assert effective(["net_admin"], ["CAP_CHOWN"])[-1] == "CAP_NET_ADMIN"
    assert "CAP_CHOWN" not in effective(None, ["chown"])
    assert effective(["CHOWN"], ["ALL"]) == ("CAP_CHOWN",)
    assert set(effective(["ALL"], ["KILL"])) == set(capabilities.available()) - {"CAP_KILL"}
    with pytest.raises(InvalidParameter, match='invalid CapAdd: unknown capability: "CAP_FOO"'):
        effective(["foo"], None)


def test_working_directories(rootfs: Path) -> None:
    assert spec(rootfs, config=Config(working_dir="/a/b"))["process"]["cwd"] == "/a/b"
    assert (rootfs / "a/b").is_dir()
    (rootfs / "file").touch()
    with pytest.raises(SampanError, match="Cannot mkdir: /file is not a directory"):
        spec(rootfs, config=Config(working_dir="/file"))
    with pytest.raises(InvalidParameter, match="needs to be an absolute path"):
        spec(rootfs, config=Config(working_dir="a"))
    (rootfs / "out").symlink_to("/proc/self/fd")
    (rootfs / "up").symlink_to("../../../../..")
    for leak in ("/proc/self/fd/3", "/out/3", "/proc/1/cwd", "/proc/thread-self/root/x", "/up/proc/self/fd/9"):
        with pytest.raises(SampanError, match="not a directory"):
            spec(rootfs, config=Config(working_dir=leak))


def test_an_exec_is_the_containers_with_changes(rootfs: Path) -> None:
    container = Container(id=ID, config=Config(hostname="h", env=["A=1"], user="ann", working_dir="/etc"))
    process = oci.exec_process(container, ExecConfig(cmd=["x"], env=["A", "B=2"], tty=True, privileged=True), rootfs)
    assert process["env"] == [f"PATH={oci.DEFAULT_PATH}", "HOSTNAME=h", "TERM=xterm", "B=2", "HOME=/home/ann"]
    assert (process["user"]["uid"], process["cwd"], process["terminal"]) == (1000, "/etc", True)
    assert process["capabilities"]["bounding"] == list(capabilities.available())
    with pytest.raises(SampanError, match="chdir to cwd"):
        oci.exec_process(container, ExecConfig(cmd=["x"], working_dir="/proc/self/fd/8"), rootfs)


def test_a_cgroup_parent_does_not_climb() -> None:
    assert oci.cgroup_path("mine", ID) == f"/mine/{ID}"
    for bad in ("/../x", "/", "a/../../b"):
        with pytest.raises(InvalidParameter):
            oci.cgroup_path(bad, ID)
