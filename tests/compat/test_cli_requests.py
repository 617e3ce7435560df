"""The same command line to docker's client and to ours: the same request, exit code and words.

A daemon of fixed answers records what both send, so that what the flags of `create` and `run` mean is compared field
by field. Needs docker's client 28: others word and spell some things differently.
"""

# ruff: noqa: E501

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.cli.main import main
from support.canned import Canned
from support.daemon import docker_binary


def _client_version() -> str:
    try:
        return subprocess.run([docker_binary(), "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


pytestmark = pytest.mark.skipif("version 28." not in _client_version(), reason="compares with docker's client 28")

ID = "0123456789abcdef" * 4
ANSWERS: dict[str, Any] = {"POST /containers/create": (201, {"Id": ID, "Warnings": ["careful"]})}
for _name in ("x", "y"):
    ANSWERS |= {
        f"POST /containers/{_name}/{_verb}": (204, b"")
        for _verb in ("start", "stop", "restart", "kill", "pause", "unpause", "rename")
    }
    ANSWERS |= {
        f"DELETE /containers/{_name}": (204, b""),
        f"POST /containers/{_name}/update": {"Warnings": []},
        f"POST /containers/{_name}/wait": {"StatusCode": 3},
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Canned]:
    with Canned(ANSWERS) as canned:
        yield canned


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    (directory / "env").write_text('A=1\n# c\n\n  B=2  \nMYVAR\nNOSUCH\nC="q"\n')
    (directory / "badenv").write_text("A B=1\n")
    (directory / "badenv2").write_text("=1\n")
    (directory / "sec.json").write_text('{ "a" : [1, 2],\n "b": {"c":"é"} }\n')
    return directory


def _asked(server: Canned) -> list[tuple[str, str, Any]]:
    """What was sent, pings left out; order within what Go keeps in maps is nobody's promise."""
    found = []
    for target, query, body in server.requests:
        if target.endswith("/_ping"):
            continue
        value = json.loads(body) if body else None
        if isinstance(value, dict) and value.get("Env"):
            value["Env"].sort()
        if isinstance(value, dict) and value.get("HostConfig", {}).get("Binds"):
            value["HostConfig"]["Binds"].sort()
        found.append((target, query, value))
    server.requests.clear()
    return sorted(found, key=lambda item: item[:2])


def _ours(text: str) -> str:
    for theirs, own in (
        ("'docker ", "'sampan "),
        ("docker: ", "sampan: "),
        ("  docker ", "  sampan "),
        (", docker ", ", sampan "),
        ("command: docker", "command: sampan"),
        ("\tdocker", "\tsampan"),
    ):
        text = text.replace(theirs, own)
    return text


CREATE = r"""
create busybox
create --name x -v /a:/b -v ./x:/y -v vol:/c:ro -v /anon -p 80 -p 127.0.0.1:8080-8081:80-81/tcp busybox
create -p ::1:80:80 busybox
create -p [::1]:80:80 busybox
create -p 127.0.0.1::80/udp -p 8000-8010:80 busybox
create -p published=8080,target=80 -p 53/UDP busybox
create -p 1-3:4-9 busybox
create -p x:80 busybox
create -p 80:x busybox
create -p 80:80/foo busybox
create -p 1.2.3:80:80 busybox
create -p "" busybox
create -p 99999 busybox
create -p 80: busybox
create --expose 80 --expose 90-92/udp --expose 5:6 busybox
create --expose a busybox
create --expose 9-2 busybox
create --expose 90-92/udp --expose 80 busybox
create --mount type=bind,src=/a,dst=/b,ro --mount type=tmpfs,dst=/t,tmpfs-size=5m,tmpfs-mode=1777 --mount src=v,dst=/v,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=type=nfs,volume-opt=o=x busybox
create --mount type=bind,src=.,dst=/b,bind-propagation=rslave,bind-recursive=disabled busybox
create --mount type=bind,src=/x,dst=/b,bind-recursive=readonly busybox
create --mount type=bind,src=/x,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate busybox
create --mount type=bind,src=/x,dst=/b,bind-recursive=writable,ro=true busybox
create --mount type=bind,src=/x,dst=/b,bind-recursive=foo busybox
create --mount type=bind,src=/x,dst=/b,ro=maybe busybox
create --mount type=bind,src=/x,dst=/b,bind-nonrecursive busybox
create --mount type=tmpfs,dst=/x,tmpfs-size=zz busybox
create --mount type=tmpfs,dst=/x,tmpfs-mode=9 busybox
create --mount type=volume,dst=/x,bind-propagation=rslave busybox
create --mount type=foo,dst=/x busybox
create --mount type=,dst=/x busybox
create --mount "" busybox
create --mount dst busybox
create --mount "type=bind, src=/a,dst=/b" busybox
create --mount "type=bind,src=,dst=/b" busybox
create --mount "type=bind,src= /a,dst=/b" busybox
create --mount type=image,src=busybox,dst=/x,image-subpath=a busybox
create --mount "type=bind,a\"b" busybox
create --mount '"type=bind","src=/a,b",dst=/c' busybox
create --mount '"type=bind' busybox
create --network foo --network-alias a --network-alias b --link x:y --ip 1.2.3.4 --ip6 ::2 --mac-address 02:00:00:00:00:01 --link-local-ip 169.254.1.1 busybox
create --network name=foo,alias=a,alias=b,ip=1.2.3.4,ip6=::3,mac-address=02:00:00:00:00:02,link-local-ip=169.254.2.2,driver-opt=k=v,gw-priority=7 busybox
create --network name=foo,alias=a --network-alias b busybox
create --network name=foo,ip=1.2.3.4 --ip 1.2.3.5 busybox
create --network name=foo --network name=bar busybox
create --network foo --network bar busybox
create --network foo --network foo busybox
create --network foo --network host busybox
create --network foo busybox
create --network host busybox
create --network none --network-alias x busybox
create --network-alias x busybox
create --net host busybox
create --net-alias a --net foo busybox
create --network container:abc busybox
create --network name=,alias=4 busybox
create --network name=x,foo=y busybox
create --network name=x,gw-priority=z busybox
create --network name=x,driver-opt=z busybox
create --network "" busybox
create --link x:y busybox
create --link "" busybox
create --link a:b:c busybox
create --mac-address zz busybox
create --ip zz busybox
create --link-local-ip zz busybox
create --network bridge busybox
create --network default busybox
create --dns 1.1.1.1 --dns 2001:0db8::0001 --dns-search . --dns-search example.com --dns-opt ndots:2 --dns-option x busybox
create --dns zz busybox
create --dns-search -bad busybox
create --dns-search a_b.c. busybox
create --add-host a:1.2.3.4 --add-host b=::1 --add-host "c:[::2]" --add-host d:host-gateway busybox
create --add-host a busybox
create --add-host a:b busybox
create --add-host :1.2.3.4 busybox
create -e A=1 -e MYVAR -e NOSUCHVAR -e A=2 busybox
create -e =x busybox
create -e "" busybox
create --env-file @/env busybox
create --env-file @/badenv busybox
create --env-file @/badenv2 busybox
create --env-file /nonexistent busybox
create -l a=b -l c --label-file @/env busybox
create -l "" busybox
create -l "a b=c" busybox
create -l "a=b c" -l " x=y" busybox
create --ulimit nofile=5:6 --ulimit nproc=4 --ulimit nofile=7 busybox
create --ulimit nofile=6:5 busybox
create --ulimit foo=6:5 busybox
create --ulimit nofile busybox
create --ulimit nofile=a busybox
create --ulimit nofile=1:2:3 busybox
create --ulimit core=-1 busybox
create --ulimit core=-1:5 busybox
create --ulimit core=1:x busybox
create --gpus all busybox
create --gpus 2 busybox
create --gpus '"device=0,1","capabilities=utility,compute",driver=nvidia,"options=a=b,c=d"' busybox
create --gpus foo busybox
create --gpus count=1,count=2 busybox
create --gpus foo=2 busybox
create --device /dev/null --device /dev/zero:/dev/x --device /dev/a:/dev/b:r --device /dev/full:rw busybox
create --device /dev/null:/x:zz busybox
create --device a:b:c:d busybox
create --device x busybox
create --device "" busybox
create --device vendor.com/class=name busybox
create --device-cgroup-rule "c 1:3 rwm" --device-cgroup-rule "a *:* r" busybox
create --device-cgroup-rule "c 1:3" busybox
create --device-read-bps /dev/sda:1mb --device-write-iops /dev/sda:100 --blkio-weight-device /dev/sda:100 --blkio-weight 300 busybox
create --device-read-bps /dev/sda busybox
create --device-read-bps /dev/sda:x busybox
create --device-read-iops /dev/sda:x busybox
create --device-read-iops sda:1 busybox
create --blkio-weight-device /dev/sda:5 busybox
create --blkio-weight 70000 busybox
create --blkio-weight x busybox
create -m 512m --memory-reservation 1.5g --memory-swap -1 --memory-swappiness 5 --shm-size 64m --cpus 1.5 --cpuset-cpus 0-1 --cpuset-mems 0 -c 512 --cpu-period 1000 --cpu-quota 2000 --pids-limit 100 --oom-kill-disable --oom-score-adj -500 busybox
create -m 5 --memory-swap 1GiB --cpus .25 busybox
create -m x busybox
create -m 5x busybox
create -m -5 busybox
create -m 5kbb busybox
create -m "5 m" busybox
create -m "" busybox
create -m 1e3 busybox
create -m 0x10 busybox
create --memory-swap -2 busybox
create --cpus x busybox
create --cpus 1/3 busybox
create --cpus 1/2 busybox
create --cpus 0.0000000001 busybox
create --cpus 1e-1 busybox
create --cpus -1 busybox
create --cpus "" busybox
create --cpu-shares x busybox
create --cpu-shares 0x10 busybox
create --cpu-shares 99999999999999999999 busybox
create --cpu-shares 1_000 busybox
create --cpu-shares 010 busybox
create --pids-limit "" busybox
create --oom-score-adj 5x busybox
create --stop-timeout 5 --stop-signal INT busybox
create --stop-timeout x busybox
create --health-cmd "x y" --health-interval 1m30s --health-timeout 5s --health-retries 3 --health-start-period 2s --health-start-interval 100ms busybox
create --health-interval -1s busybox
create --health-interval x busybox
create --health-interval 5 busybox
create --health-interval 5y busybox
create --health-interval 1.5h busybox
create --health-interval "" busybox
create --health-interval .s busybox
create --health-retries -1 busybox
create --no-healthcheck busybox
create --no-healthcheck --health-cmd x busybox
create --health-start-period 5s busybox
create --security-opt no-new-privileges --security-opt apparmor=x --security-opt label:disable --security-opt seccomp=unconfined --security-opt systempaths=unconfined busybox
create --security-opt seccomp=@/sec.json busybox
create --security-opt seccomp=/nonexist busybox
create --security-opt seccomp=@/env busybox
create --security-opt foo busybox
create --security-opt foo= busybox
create --security-opt no-new-privileges=false busybox
create --storage-opt size=5G busybox
create --storage-opt size busybox
create --log-driver none --log-opt a=b busybox
create --log-driver json-file --log-opt max-size=1m --log-opt x busybox
create --sysctl net.ipv4.ip_forward=1 --sysctl kernel.sem=x busybox
create --sysctl foo=1 busybox
create --sysctl net busybox
create --annotation a=b --annotation c busybox
create --tmpfs /x --tmpfs /y:size=5m,exec busybox
create --restart always busybox
create --restart on-failure:5 busybox
create --restart on-failure:x busybox
create --restart :5 busybox
create --restart "" busybox
create --restart foo busybox
create --restart on-failure:-1 busybox
create --rm --restart always busybox
create --rm --restart no busybox
create --pid host --uts host --ipc host --userns host --cgroupns host busybox
create --pid container:x --ipc container:y busybox
create --pid foo busybox
create --pid container: busybox
create --uts foo busybox
create --userns foo busybox
create --cgroupns foo busybox
create --ipc foo busybox
create --isolation foo --runtime r --cgroup-parent /x --volume-driver v --volumes-from a --volumes-from b:ro busybox
create --entrypoint sh busybox -c x
create --entrypoint "" busybox
create -itd busybox
create -it busybox sh
create -i -a stdin busybox
create -a stdout -a STDERR busybox
create -a foo busybox
create -tih h busybox
create -hfoo -wbar -u1:2 --domainname d busybox
create --init busybox
create --init=false busybox
create --privileged --read-only -P --cap-add NET_ADMIN --cap-drop ALL --group-add g busybox
create --cap-add=a,b busybox
create --platform linux/arm64 busybox
create --platform linux/arm64/v8/x busybox
create --platform LINUX/AMD64 busybox
create --platform a/b!/c busybox
create --platform arm64 busybox
create --platform linux busybox
create --pull foo busybox
create --pull never busybox
create --pull "" busybox
create BAD
create a:b:c
create aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
create ""
create
create --rm=x busybox
create --rm=T busybox
create --foo busybox
create -Zq busybox
create -eA=1 -e=B=2 busybox ls -l --foo
create -- busybox ls -x
create --name=a --name b busybox
create --name
create -e
create -ite
create --=a busybox
create ---x busybox
create - busybox
create -v "" busybox
create -v a::b busybox
create -v a:b:c:d busybox
create -v a:b:c busybox
create -v /a:/b -v /a:/b busybox
create -v ~/x:/b busybox
create -v a busybox
create -v ab: busybox
create -v C:x busybox
create -v :/x busybox
create --memory-swappiness 300 busybox
create --memory-swappiness -1 busybox
create --cidfile /nonexist/x busybox
create --cidfile /etc/passwd busybox
create --hostname
create -q busybox
run --rm=x busybox
run --add-host a busybox
run --pull foo busybox
run --pid foo busybox
run --cidfile /nonexist/x busybox
run BAD
create --cap-add all --cap-add net_admin --cap-drop chown --cap-drop CHOWN --cap-drop net_admin busybox
create --cap-add sys_admin --cap-add chown --cap-drop sys_admin --cap-drop kill busybox
create --platform linux/aarch64 busybox
create --platform armhf busybox
create --platform foo busybox
create -v /:x busybox
create -v a:/b busybox
create -v ab:/b:ro -v abc busybox
"""

OTHERS = r"""
kill x
kill -s INT x y
kill
stop -t 5 x
stop -s INT x y
stop -t x y
restart x
restart -t -1 x
rm x
rm -vfl x y
rm /x
rm a/b
rm ""
rename a b
rename a ""
rename a
pause x y
unpause x
wait ""
update x
update -m 5m --restart always x y
update --cpus x y
update --restart foo:x y
export -o /nonexist/x x
export -o / x
container prune -f
container prune --filter until=5h --filter label=x -f
container prune --filter x
container prune a
container rm --foo x
container foo
container --foo
foo
--foo
-Z
-H
-l bogus ps
-H a -H b ps
logs
exec x
exec
exec --foo x ls
start -a a b
start x y
cp a
cp a b
cp x:/a y:/b
attach
run
rm --
rm -f
rm --force=maybe x
rm -fx y
rm -f=true y
rm -f=x y
rm - x
rm --=x
container list --foo
"""


@pytest.mark.parametrize("line", [line for line in (CREATE + OTHERS).splitlines() if line])
def test_same_line_same_request(
    line: str, server: Canned, files: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word.replace("@/", f"{files}/") for word in shlex.split(line)]
    environment = server.environment(MYVAR="mine")
    environment.pop("NOSUCHVAR", None)
    theirs = subprocess.run(
        [docker_binary(), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    asked = _asked(server)
    monkeypatch.setattr(os, "environ", environment)
    code = main(words)
    printed = capfd.readouterr()
    assert (code, printed.err.strip(), printed.out) == (
        theirs.returncode,
        _ours(theirs.stderr).strip(),
        _ours(theirs.stdout),
    )
    assert _asked(server) == asked


OWN = re.compile(r"^ +--(health-on-failure|publish-(add|rm)|mount-(add|rm)) .*\n( {20,}.*\n)*", re.MULTILINE)
"""Flags that docker does not have."""
COMMANDS = "run create start stop restart kill rm attach exec cp rename pause unpause export logs update"


@pytest.mark.parametrize("command", COMMANDS.split())
def test_help_is_laid_out_alike(command: str, server: Canned, capfd: pytest.CaptureFixture[str]) -> None:
    theirs = subprocess.run(
        [docker_binary(), command, "--help"],
        env=server.environment(), capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    ).stdout  # fmt: skip
    assert main([command, "--help"]) == 0
    shown = [
        line for line in _ours(theirs).splitlines() if "--kernel-memory" not in line
    ]  # ours hides what does nothing
    assert OWN.sub("", capfd.readouterr().out).splitlines() == shown


def test_flags_of_our_own_are_not_sent_to_another_engine(
    server: Canned, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", server.environment())
    server.requests.clear()
    assert main(["update", "--publish-add", "80:80", "--mount-rm", "/data", "x"]) == 1
    assert "--publish-add, --mount-rm can only be had from Sampan's own engine" in capfd.readouterr().err
    assert main(["create", "--health-on-failure", "kill", "busybox"]) == 1
    assert "--health-on-failure can only be had from Sampan's own engine" in capfd.readouterr().err
    assert _asked(server) == []
