"""What `sampan` prints is, byte for byte, what docker's own client prints for the same answers of a daemon.

Needs docker's client 28: others lay some things out differently.
"""

# ruff: noqa: E501

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from support.canned import Canned
from support.daemon import SAMPAN, docker_binary
from support.terminal import Terminal


def _client_version() -> str:
    try:
        return subprocess.run([docker_binary(), "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


pytestmark = pytest.mark.skipif("version 28." not in _client_version(), reason="compares with docker's client 28")

ID = "0123456789abcdef" * 4
DIGEST = f"sha256:{'ab' * 32}"
LONG_AGO = 1_600_000_000
CONTAINERS: list[dict[str, Any]] = [
    {
        "Id": ID, "Names": ["/web", "/other/alias"], "Image": "busybox", "ImageID": DIGEST, "Command": "sleep 10000",
        "Created": LONG_AGO, "State": "running", "Status": "Up 3 days (healthy)", "SizeRw": 57, "SizeRootFs": 1984057,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
            *({"IP": "0.0.0.0", "PrivatePort": n, "PublicPort": n, "Type": "udp"} for n in range(9000, 9004)),
        ],
        "Labels": {"com.example.my-key": "v", "a": "b"}, "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {}}},
        "Mounts": [
            {"Type": "volume", "Name": "a-volume-with-a-long-name", "Driver": "local", "Destination": "/v"},
            {"Type": "bind", "Source": "/tmp", "Destination": "/t"},
        ],
    },
    {
        "Id": "f" * 64, "Names": ["/job"], "Image": DIGEST, "ImageID": DIGEST, "Created": LONG_AGO,
        "Command": "sh -c 'echo \"hello\" wörld and much more'", "State": "exited", "Status": "Exited (1) 2 years ago",
        "Ports": [], "Labels": None, "NetworkSettings": {"Networks": {}}, "Mounts": [],
    },
]  # fmt: skip
IMAGES: list[dict[str, Any]] = [
    {"Id": DIGEST, "RepoTags": ["busybox:latest"], "RepoDigests": [f"busybox@{DIGEST}"], "Created": LONG_AGO,
     "Size": 1984000, "SharedSize": 0, "Containers": 1, "Labels": None, "ParentId": ""},
    {"Id": f"sha256:{'cd' * 32}", "RepoTags": ["127.0.0.1:5000/team/tool:1.0"], "RepoDigests": [], "Created": 0,
     "Size": 120_170_000, "SharedSize": -1, "Containers": 0, "Labels": None, "ParentId": ""},
    {"Id": f"sha256:{'ef' * 32}", "RepoTags": [], "RepoDigests": [f"quay.io/x/y@{DIGEST}"], "Created": LONG_AGO,
     "Size": 5, "SharedSize": -1, "Containers": -1, "Labels": None, "ParentId": ""},
    {"Id": f"sha256:{'01' * 32}", "RepoTags": [], "RepoDigests": [], "Created": LONG_AGO,
     "Size": 999_999, "SharedSize": 999_000, "Containers": 0, "Labels": None, "ParentId": ""},
]  # fmt: skip
NETWORK: dict[str, Any] = {
    "Name": "bridge", "Id": "a" * 64, "Created": "2026-01-02T03:04:05.6Z", "Scope": "local", "Driver": "bridge",
    "EnableIPv4": True, "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]},
    "Internal": False, "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
    "Containers": {}, "Options": {"com.docker.network.bridge.name": "docker0"}, "Labels": {"k": "v<>"},
}  # fmt: skip
VOLUME: dict[str, Any] = {
    "CreatedAt": "2026-01-02T03:04:05Z", "Driver": "local", "Labels": {"a": "<b>"}, "Mountpoint": "/m", "Name": "vol2",
    "Options": None, "Scope": "local", "UsageData": {"RefCount": 1, "Size": 4096},
}  # fmt: skip
CONTAINER: dict[str, Any] = {
    "Id": ID, "Created": "2026-01-02T03:04:05Z", "Path": "sleep", "Args": ["10"], "Image": DIGEST, "Name": "/web",
    "State": {"Status": "running", "Running": True, "Paused": False, "Restarting": False, "OOMKilled": False,
              "Dead": False, "Pid": 42, "ExitCode": 0, "Error": "a\\u003cb \\" + '"', "StartedAt": "x", "FinishedAt": ""},
    "RestartCount": 0, "Driver": "overlay2", "Platform": "linux", "ExecIDs": None,
    "HostConfig": {"Binds": ["/a:/b"], "NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "81"}]},
                   "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "ConsoleSize": [0, 0], "ShmSize": 67108864,
                   "CpuShares": 5, "PidsLimit": 7, "Init": True, "LogConfig": {"Type": "json-file", "Config": {"x": "y"}}},
    "GraphDriver": {"Data": {"LowerDir": "/l"}, "Name": "overlay2"},
    "Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b", "Mode": "", "RW": True, "Propagation": "rprivate"}],
    "Config": {"Hostname": "h", "Env": ["A=1", "B=2"], "Cmd": ["sleep", "10"], "Labels": {"k": "v"}, "Entrypoint": None,
               "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["CMD", "x"], "Interval": 90_000_000_000}},
    "NetworkSettings": {"SandboxID": "s", "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "81"}], "443/tcp": None},
                        "IPAddress": "172.17.0.2", "Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
}  # fmt: skip
IMAGE: dict[str, Any] = {
    "Id": DIGEST, "RepoTags": ["busybox:latest"], "RepoDigests": [], "Parent": "", "Comment": "", "Author": "",
    "Created": "2026-01-02T03:04:05Z", "DockerVersion": "", "Architecture": "amd64", "Os": "linux", "Size": 1984000,
    "Config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": None}, "GraphDriver": {"Data": None, "Name": "overlay2"},
    "RootFS": {"Type": "layers", "Layers": [DIGEST]}, "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
}  # fmt: skip
INFO: dict[str, Any] = {
    "ID": "x", "Containers": 3, "ContainersRunning": 1, "ContainersPaused": 0, "ContainersStopped": 2, "Images": 4,
    "Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]], "Plugins": {"Volume": ["local"],
    "Network": ["bridge", "host"], "Authorization": None, "Log": ["json-file"]}, "LoggingDriver": "json-file",
    "CgroupDriver": "cgroupfs", "CgroupVersion": "2", "KernelVersion": "6.1", "OperatingSystem": "Debian", "OSType": "linux",
    "Architecture": "x86_64", "NCPU": 2, "MemTotal": 25276000000, "DockerRootDir": "/r", "Name": "vm", "Labels": ["a=b"],
    "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {"docker.io": {"Name": "docker.io",
    "Mirrors": [], "Secure": True, "Official": True}}, "Mirrors": ["https://m/"]}, "HttpProxy": "", "HttpsProxy": "p",
    "ServerVersion": "1.2", "Runtimes": {"runc": {"path": "runc"}}, "DefaultRuntime": "runc",
    "Swarm": {"LocalNodeState": "inactive"}, "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    "ContainerdCommit": {"ID": "c"}, "RuncCommit": {"ID": "r"}, "InitCommit": {"ID": "i"}, "InitBinary": "docker-init",
    "DefaultAddressPools": [{"Base": "172.28.0.0/16", "Size": 24}], "Warnings": ["WARNING: No swap limit support"],
}  # fmt: skip
VERSION: dict[str, Any] = {
    "Platform": {"Name": "Some Engine"}, "Version": "1.2", "ApiVersion": "1.50", "MinAPIVersion": "1.24", "Os": "linux",
    "Arch": "amd64", "GitCommit": "abc", "GoVersion": "go1", "BuildTime": "2026-08-13T05:35:48Z", "KernelVersion": "6.1",
    "Components": [
        {"Name": "Engine", "Version": "1.2", "Details": {"ApiVersion": "1.50", "MinAPIVersion": "1.24", "Os": "linux",
         "Arch": "amd64", "GitCommit": "abc", "GoVersion": "go1", "BuildTime": "2026-08-13T05:35:48.000000000+00:00",
         "Experimental": "false"}},
        {"Name": "runc", "Version": "1.1", "Details": {"GitCommit": "z"}},
    ],
}  # fmt: skip
CACHE: dict[str, Any] = {
    "ID": "cacheid12345678", "Type": "regular", "Description": "d", "InUse": True, "Shared": False, "Size": 10,
    "CreatedAt": "2020-01-02T03:04:05Z", "LastUsedAt": "2020-01-02T03:04:05Z", "UsageCount": 3, "Parents": None,
}  # fmt: skip
EVENT: dict[str, Any] = {
    "Type": "container", "Action": "start", "Actor": {"ID": "x", "Attributes": {"name": "web", "image": "b"}},
    "scope": "local", "time": 1700000000, "timeNano": 1700000000123456789,
}  # fmt: skip
STATS: dict[str, Any] = {
    "name": "/web", "id": ID, "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 3000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000}, "pids_stats": {"current": 3},
    "memory_stats": {"usage": 5_000_000, "limit": 25_276_000_000, "stats": {"inactive_file": 1_000_000}},
    "networks": {"eth0": {"rx_bytes": 1234, "tx_bytes": 5}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 7}, {"op": "Write", "value": 99999}]},
}  # fmt: skip
NO_SUCH = {"message": "No such thing"}
ANSWERS: dict[str, Any] = {
    "GET /containers/json": CONTAINERS,
    "GET /images/json": IMAGES,
    "GET /networks": [NETWORK, {**NETWORK, "Name": "net10"}, {**NETWORK, "Name": "net9", "Labels": None}],
    "GET /volumes": {"Volumes": [{**VOLUME, "Name": "vol10"}, VOLUME], "Warnings": None},
    "GET /info": INFO,
    "GET /version": VERSION,
    "GET /system/df": {"LayersSize": 9_000_000, "Images": IMAGES, "Containers": CONTAINERS, "Volumes": [VOLUME],
                       "BuildCache": [CACHE]},
    "GET /containers/web/json": CONTAINER,
    "GET /containers/web/top": {"Titles": ["PID", "CMD"], "Processes": [["1", "sleep 10000"], ["22", "sh"]]},
    "GET /containers/web/changes": [{"Path": "/a", "Kind": 0}, {"Path": "/b", "Kind": 1}, {"Path": "/c", "Kind": 2}],
    "GET /containers/web/stats": STATS,
    "GET /containers/busybox/json": (404, NO_SUCH),
    "GET /containers/gone/json": (404, {"message": "No such container: gone"}),
    "GET /images/gone/json": (404, {"message": "No such image: gone:latest"}),
    "GET /networks/gone": (404, {"message": "network gone not found"}),
    "GET /volumes/gone": (404, {"message": "get gone: no such volume"}),
    "GET /plugins/gone/json": (404, {"message": "plugin \"gone\" not found"}),
    "GET /images/busybox/json": IMAGE,
    "GET /networks/bridge": NETWORK,
    "GET /volumes/vol2": VOLUME,
    "GET /images/busybox/history": [
        {"Id": DIGEST, "Created": LONG_AGO, "CreatedBy": "/bin/sh -c #(nop)\tCMD [\"sh\"] with more than fits", "Size": 0,
         "Comment": "c", "Tags": ["busybox:latest"]},
        {"Id": "<missing>", "Created": 0, "CreatedBy": "COPY", "Size": 1984000, "Comment": "", "Tags": None},
    ],
    "GET /events…stream": [EVENT, {**EVENT, "Actor": {"ID": "y", "Attributes": {}}, "timeNano": 0}],
    "DELETE /images/busybox": [{"Untagged": "busybox:latest"}, {"Deleted": DIGEST}],
    "DELETE /images/gone": (404, {"message": "No such image: gone:latest"}),
    "DELETE /images/used": (409, {"message": "conflict: used"}),
    "DELETE /networks/gone": (404, {"message": "network gone not found"}),
    "DELETE /networks/bridge": {},
    "DELETE /volumes/gone": (404, {"message": "get gone: no such volume"}),
    "DELETE /volumes/vol2": {},
    "POST /containers/prune": {"ContainersDeleted": [ID, "f" * 64], "SpaceReclaimed": 1234},
    "POST /images/prune": {"ImagesDeleted": [{"Untagged": "x:1"}, {"Deleted": DIGEST}], "SpaceReclaimed": 99},
    "POST /networks/prune": {"NetworksDeleted": ["n1"]},
    "POST /volumes/prune": {"VolumesDeleted": None, "SpaceReclaimed": 0},
    "POST /build/prune": {"CachesDeleted": None, "SpaceReclaimed": 0},
    "POST /networks/create": {"Id": "newid"},
    "POST /networks/bridge/connect": {},
    "POST /networks/bridge/disconnect": {},
    "POST /volumes/create": VOLUME,
    "POST /images/busybox/tag": {},
    "POST /commit": {"Id": DIGEST},
    "GET /images/get": b"tar",
    "GET /images/search": [{"name": "x", "description": "some\nthing", "star_count": 5, "is_official": True}],
    "POST /auth": {"Status": "Login Succeeded"},
}  # fmt: skip


@pytest.fixture(scope="module")
def canned() -> Iterator[Canned]:
    with Canned(ANSWERS) as server:
        yield server


def outcome(canned: Canned, client: list[str], words: list[str], answer: str = "") -> tuple[int, str, str]:
    """(exit code, stdout, stderr), with our name where docker writes its own."""
    done = subprocess.run([*client, *words], env=canned.environment(), input=answer, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.replace("sampan", "docker").replace("Sampan", "Docker")


def same(canned: Canned, *words: str, answer: str = "") -> None:
    expected = outcome(canned, [docker_binary()], list(words), answer)
    assert outcome(canned, SAMPAN, list(words), answer) == expected


@pytest.mark.parametrize(
    "line",
    [
        "ps", "ps -a", "ps -q", "ps --no-trunc", "ps -s", "ps -f x", "ps x", "container ls", "container list -a",
        "images", "images -q", "images --digests", "images --no-trunc", "images ls", "image ls", "images a b c --nope",
        "network ls", "network ls -q", "network ls --no-trunc", "volume ls", "volume ls -q",
        "history busybox", "history -q --no-trunc busybox", "history -H=false busybox",
        "top web", "top", "diff web", "port web", "port web 80", "port web 81", "port web x", "port web 443/tcp",
        "system df", "system df -v", "stats --no-stream web", "stats --no-stream gone",
        "rmi busybox", "rmi busybox gone", "rmi -f gone", "rmi -f gone used", "image rm gone", "tag busybox x", "tag busybox BAD",
        "save busybox", "commit web", "commit web BAD", "search x", "pull BAD", "push -a busybox:x", "load -i /nonexistent",
        "network rm bridge gone", "network rm -f gone", "volume rm vol2 gone", "volume create --name a b", "volume create",
        "network create --subnet x n", "network create --subnet 10.0.0.0/24 --gateway 10.1.0.1 n", "network create n",
        "network connect bridge web", "network connect --link a:b:c bridge web", "network disconnect -f bridge web",
        "container prune -f", "image prune -f", "image prune -af", "network prune -f", "volume prune -f",
        "volume prune -af --filter all=1", "system prune -f", "system prune -f --volumes --filter until=1h",
        "inspect web", "inspect busybox", "inspect web busybox bridge vol2 gone", "inspect -s bridge", "inspect --type foo x",
        "inspect --type= x", "image inspect busybox gone", "network inspect bridge", "volume inspect vol2 gone", "inspect",
        "events --until 1s", "events --since x", "login -u x --password-stdin -p y", "login --password-stdin",
    ],
)  # fmt: skip
def test_prints_what_docker_prints(canned: Canned, line: str) -> None:
    same(canned, *line.split())


@pytest.mark.parametrize(
    ("words", "format"),
    [
        ("ps", "json"), ("ps", "table"), ("ps", "raw"), ("ps -q", "raw"), ("ps", "table {{.Names}}\\t{{.Status}}"),
        ("ps", 'table {{.Names}}\\t{{.Label "com.example.my-key"}}\\t{{.Size}}'), ("ps", "{{.Nope}}"), ("ps", "{{"),
        ("ps", "{{.Names}}\\t{{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.Labels}} {{.CreatedAt}} {{.Platform}}"),
        ("ps", '{{index (split .Names ",") 1}}'), ("ps", "table {{upper .Names}}\\t{{json .Ports}}"), ("ps -q", "x"),
        ("images", "json"), ("images", "raw"), ("images --digests", "raw"), ("images -q", "raw"),
        ("images --digests", "table {{.Repository}}"), ("images", "{{.Repository}}:{{.Tag}}@{{.Digest}} {{.VirtualSize}}"),
        ("images", "{{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.CreatedAt}}"),
        ("network ls", "json"), ("network ls", "raw"), ("network ls", "table {{.Name}}\\t{{.IPv6}}\\t{{.CreatedAt}}"),
        ("volume ls", "json"), ("volume ls", "raw"), ("volume ls", '{{.Name}} {{.Label "a"}} {{.Links}} {{.Size}}'),
        ("history busybox", "json"), ("history busybox", "{{.CreatedAt}} {{.Size}}"), ("search x", "json"),
        ("system df", "json"), ("system df", "raw"), ("system df -v", "json"), ("system df -v", "raw"),
        ("system df -v", "{{range .Images}}{{.Repository}}{{end}}"), ("system df -v", "{{.Nope}}"),
        ("stats --no-stream web", "json"), ("stats --no-stream web", "table {{.Name}}\\t{{.Container}}\\t{{.BlockIO}}"),
        ("events --until 1s", "json"), ("events --until 1s", "{{.Actor.ID}} {{.Time}}"), ("events", "{{.Nope}}"),
        ("info", "{{.ServerVersion}} {{.NCPU}} {{.Swarm.LocalNodeState}} {{.Plugins.Volume}}"), ("info", "{{.Nope}}"),
        ("info", "{{json .Plugins}} {{json .RegistryConfig}} {{.Runtimes}}"), ("info", "{{"),
        ("version", "{{.Server.Version}} {{.Server.APIVersion}}"), ("version", "{{json .Server}}"), ("version", "{{.Nope}}"),
        ("version", "{{range .Server.Components}}{{.Name}}\t{{.Version}}\n{{end}}"), ("version", "{{"),
        ("inspect web", "json"), ("inspect web bridge", "{{.Name}}"), ("inspect web", "{{.State}} {{.Mounts}} {{.Config.Env}}"),
        ("inspect web", "{{json .}}"), ("inspect web", "{{json .HostConfig}} {{json .NetworkSettings.Ports}}"),
        ("inspect web", '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}} {{.Id}}'), ("inspect web", "{{.Nope}}"),
        ("inspect web", "{{range $p, $c := .NetworkSettings.Ports}}{{$p}} -> {{$c}} {{end}}"),
        ("inspect web", "{{.State.Health.Status}}"), ("inspect web", "{{.HostConfig.Init}} {{.HostConfig.PidsLimit}}"),
        ("inspect web", "{{.Config.Healthcheck.Interval}} {{.HostConfig.CPUShares}} {{.GraphDriver}}"),
        ("inspect busybox", "{{json .}}"), ("inspect busybox", "{{.Metadata.LastTagTime}} {{.Config}} {{.RootFS}}"),
        ("network inspect bridge", "{{.}} {{json .}}"), ("volume inspect vol2", "{{.Nope}}"),
        ("volume inspect vol2", "{{.Labels}} {{json .}}"), ("inspect --type volume vol2", "{{.Nope}}"),
    ],
)  # fmt: skip
def test_formats_as_docker_formats(canned: Canned, words: str, format: str) -> None:
    same(canned, *words.split(), "--format", format)


def test_info_and_version_differ_in_nothing_but_the_client(canned: Canned) -> None:
    for words in (["info"], ["version"]):
        expected = outcome(canned, [docker_binary()], words)
        ours = outcome(canned, SAMPAN, words)
        assert ours[1].partition("\nServer:")[2] == expected[1].partition("\nServer:")[2]
        assert (ours[0], ours[2]) == (expected[0], expected[2])


@pytest.mark.parametrize("line", ["container prune", "image prune -a", "network prune", "volume prune", "system prune"])
@pytest.mark.parametrize("answer", ["y\n", "n\n", ""])
def test_prunes_only_when_told_so(canned: Canned, line: str, answer: str) -> None:
    canned.requests.clear()
    same(canned, *line.split(), answer=answer)
    asked = [request for request, _, _ in canned.requests if request.startswith("POST")]
    assert bool(asked) == (answer == "y\n")


@pytest.mark.parametrize(
    "line",
    [
        "ps -a -n 3 -s -f label=a=b -f status=running", "images -a busybox", "rmi -f --no-prune busybox", "volume rm -f vol2",
        "network create -d x -o a=b --label l=1 --internal --ipv6 --subnet 10.0.0.0/24 --gateway 10.0.0.1 --aux-address a=10.0.0.9 n",
        "network connect --ip 1.2.3.4 --alias a,b --link c:d --driver-opt k=v --gw-priority 5 bridge web",
        "network disconnect -f bridge web", "volume create -d x -o a=b --label l v", "commit -m msg -a me -c CMD=x -p=false web a/b:c",
        "tag busybox localhost:5000/x:y", "tag busybox x", "container prune -f --filter until=1h --filter label!=x", "top web -o pid,cmd",
        "image prune -af --filter label=x", "history busybox", "save busybox", "inspect -s web", "events --since 1 --until 2 -f type=image",
    ],
)  # fmt: skip
def test_asks_the_daemon_for_the_same(canned: Canned, line: str) -> None:
    asked = []
    for client in ([docker_binary()], SAMPAN):
        canned.requests.clear()
        outcome(canned, client, line.split())
        asked.append(
            [
                (request, parse_qs(query), sorted_json(body))
                for request, query, body in canned.requests
                if "_ping" not in request
            ]
        )
    assert asked[1] == asked[0]


def sorted_json(body: bytes) -> object:
    """The body without what says nothing: absent, null, false and empty are the same to the daemon."""
    import json

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if bare(item) not in (None, False, "", [], {}, 0)}
        return value

    return bare(json.loads(body)) if body else None


PULL: list[dict[str, Any]] = [
    {"status": "Pulling from library/x", "id": "latest"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Downloading", "progressDetail": {"current": 1000, "total": 300000}, "id": "aaaaaaaaaaaa"},
    {"status": "Downloading", "progressDetail": {"current": 400000, "total": 300000}, "id": "aaaaaaaaaaaa"},
    {"status": "Extracting", "progressDetail": {"current": 3, "units": "s"}, "id": "aaaaaaaaaaaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "bbbbbbbbbbbb"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaaaaaaaaaaa"},
    {"status": "Digest: sha256:1234"},
    {"status": "Status: Downloaded newer image for x:latest"},
]
FAILED = [*PULL[:4], {"errorDetail": {"message": "boom"}, "error": "boom"}]


@pytest.mark.parametrize("messages", [PULL, FAILED], ids=["whole", "failed"])
@pytest.mark.parametrize(
    ("request_line", "words"),
    [
        ("POST /images/create", ["pull", "x"]),
        ("POST /images/create", ["pull", "-q", "x:1"]),
        ("POST /images/load", ["load", "-i", "/dev/null"]),
        ("POST /images/docker.io/library/x/push", ["push", "x"]),
        ("POST /images/create", ["import", "-", "x"]),
    ],
)
def test_draws_progress_as_docker_does(messages: list[Any], request_line: str, words: list[str]) -> None:
    with Canned({f"{request_line}…stream": messages}) as canned:
        same(canned, *words)
        for columns in (200, 60) if "-" not in words else ():  # which waits for someone to type
            screens = []
            for client in ([docker_binary()], SAMPAN):
                with Terminal([*client, *words], canned.environment(), columns=columns) as terminal:
                    code = terminal.wait()
                    screens.append((code, terminal.screen))
            assert screens[1] == screens[0]


def test_login_and_logout_keep_and_forget_credentials_in_dockers_file(canned: Canned) -> None:
    path = Path(canned.environment()["DOCKER_CONFIG"], "config.json")
    files = []
    for client in ([docker_binary()], SAMPAN):
        assert outcome(canned, client, ["login", "-u", "me", "--password-stdin", "r.example"], "secret\n")[0] == 0
        files.append(path.read_text())
        assert outcome(canned, client, ["logout", "r.example"])[:2] == (0, "Removing login credentials for r.example\n")
        files.append(path.read_text())
        path.unlink()
    assert files[2] == files[0]
    assert "auth" in files[0] and "bWU6c2VjcmV0" in files[0]
    assert "bWU6c2VjcmV0" not in files[3]
