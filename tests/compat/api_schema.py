#!/usr/bin/env python3
"""Asks a running engine everything, and lays its answers beside Docker's own description of the API.

    api_schema.py SWAGGER.yaml unix:///path.sock IMAGE

SWAGGER.yaml is `api/docs/v1.NN.yaml` of github.com/moby/moby; it is not part of this repository. IMAGE is one that the
engine has, with a shell, top and sleep (busybox). Needs PyYAML. One line a finding, sorted, so that the findings of two
engines can be compared with diff:

    route    METHOD /path            no such page
    status   METHOD /path            a status that the description does not have
    missing  METHOD /path Field.Sub  described, not in the answer (often: left out because empty)
    unknown  METHOD /path Field.Sub  in the answer, not described
    type     METHOD /path Field.Sub  of another type than described

Everything it makes carries the label `api-schema` and is removed again.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import sys
import tarfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

NAME = "api-schema"
LABELS = {NAME: "1"}
ABSENT = "api-schema-absent"


class Engine:
    """One engine on a unix socket, spoken to in one version."""

    def __init__(self, host: str, version: str) -> None:
        self.path, self.version = host.removeprefix("unix://"), version

    def ask(self, method: str, path: str, body: Any = None, /, **query: Any) -> tuple[int, Any]:
        """(status, the answer: JSON, a list of JSON lines, or bytes)."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.path)
        headers = {}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/x-tar"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        target = f"/v{self.version}{path}" + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")
        with contextlib.closing(connection):
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return response.status, _decoded(response.read(), response.headers.get_content_type())


def _decoded(data: bytes, kind: str) -> Any:
    if "json" not in kind or not data.strip():
        return data
    try:
        return json.loads(data)
    except ValueError:
        return [json.loads(line) for line in data.splitlines() if line.strip()]


class Schema:
    """The description: which operations there are and what they answer."""

    def __init__(self, path: Path) -> None:
        self.tree = yaml.safe_load(path.read_text())
        self.version = str(self.tree["info"]["version"])

    def operations(self) -> Iterator[tuple[str, str]]:
        for path, methods in self.tree["paths"].items():
            for method in methods:
                if method.upper() in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                    yield method.upper(), path

    def responses(self, method: str, path: str) -> dict[str, Any]:
        return {str(status): what for status, what in self.tree["paths"][path][method.lower()]["responses"].items()}

    def whole(self, schema: dict[str, Any]) -> dict[str, Any]:
        """`schema` with references and `allOf` put in."""
        if "$ref" in schema:
            named = self.tree["definitions"][schema["$ref"].rpartition("/")[2]]
            return {**self.whole(named), "x-nullable": schema.get("x-nullable", named.get("x-nullable"))}
        if "allOf" in schema:
            parts = [self.whole(part) for part in schema["allOf"]]
            if not any("properties" in part for part in parts):
                return {key: value for part in parts for key, value in part.items()}
            merged: dict[str, Any] = {"type": "object", "properties": {}}
            for part in parts:
                merged["properties"] |= part.get("properties", {})
            merged["properties"] |= schema.get("properties", {})
            return merged
        return schema

    def compare(self, schema: dict[str, Any], value: Any, where: str = "") -> Iterator[tuple[str, str]]:
        """(finding, field) of one answer."""
        schema = self.whole(schema)
        kind = schema.get("type") or ("object" if "properties" in schema else "")
        if value is None or not kind:
            return
        if not isinstance(value, _PYTHON.get(kind, object)) or (kind != "boolean" and isinstance(value, bool)):
            yield "type", f"{where or '.'} is {type(value).__name__}, not {kind}"
        elif kind == "object":
            yield from self._fields(schema, value, where)
        elif kind == "array":
            for one in value:
                yield from self.compare(schema.get("items", {}), one, f"{where}[]")
        elif "enum" in schema and value not in schema["enum"]:
            yield "type", f"{where} is {value!r}, which is not one of its values"

    def _fields(self, schema: dict[str, Any], value: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
        known = schema.get("properties", {})
        for key, field in known.items():
            if key in value:
                yield from self.compare(field, value[key], f"{where}.{key}".lstrip("."))
            else:
                yield "missing", f"{where}.{key}".lstrip(".")
        others = schema.get("additionalProperties")
        for key in value.keys() - known.keys():
            if isinstance(others, dict):
                yield from self.compare(others, value[key], f"{where}.*".lstrip("."))
            elif known and others is not True:
                yield "unknown", f"{where}.{key}".lstrip(".")


_PYTHON: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


class Check:
    """Asks, and collects what does not fit."""

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self.engine, self.schema = engine, schema
        self.findings: set[str] = set()
        self.asked: set[tuple[str, str]] = set()

    def __call__(
        self, method: str, path: str, body: Any = None, /, *, names: tuple[str, ...] = (), **query: Any
    ) -> Any:
        """One request; `names` fill the path's variables. Returns the answer."""
        asked = path
        for name in names:
            before, _, after = asked.partition("{")
            asked = before + name + after.partition("}")[2]
        status, answer = self.engine.ask(method, asked, body, **query)
        self.asked.add((method, path))
        if method.lower() not in self.schema.tree["paths"].get(path, ()):
            return answer
        described = self.schema.responses(method, path).get(str(status))
        if described is None:
            self.findings.add(f"status   {method} {path} {status}")
            if status >= 400:
                print(f"{method} {asked}: {status} {answer}", file=sys.stderr)
            return answer
        if status >= 400:
            print(f"{method} {asked}: {status} {answer}", file=sys.stderr)
        shape = described.get("schema", {})
        several = isinstance(answer, list) and self.schema.whole(shape).get("type") != "array"
        for one in answer if several else [answer]:
            if not isinstance(one, bytes):
                for finding, field in self.schema.compare(shape, one):
                    self.findings.add(f"{finding:8} {method} {path} {field}")
        return answer


def routes(check: Check) -> None:
    """Every operation is asked for something absent: only an unknown page has these words."""
    for method, path in check.schema.operations():
        absent = path
        while "{" in absent:
            absent = absent.partition("{")[0] + ABSENT + absent.partition("}")[2]
        query = {
            "filters": "{",
            "version": "x",
            "name": "/",
            "fromImage": "::",
            "t": "::",
            "names": ABSENT,
            "until": "1",
        }
        status, answer = check.engine.ask(method, absent, [] if method in ("POST", "PUT") else None, **query)
        if status == 404 and "page not found" in str(answer):
            check.findings.add(f"route    {method} {path}")


def a_container(image: str) -> dict[str, Any]:
    """A request to create one, with most of what can be asked."""
    return {
        "Image": image,
        "Cmd": ["sleep", "600"],
        "Hostname": "host",
        "Domainname": "domain",
        "User": "0",
        "Env": ["A=b"],
        "Labels": LABELS,
        "WorkingDir": "/tmp",
        "StopSignal": "SIGKILL",
        "StopTimeout": 1,
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/anonymous": {}},
        "Shell": ["/bin/sh", "-c"],
        "Healthcheck": {
            "Test": ["CMD", "true"],
            "Interval": 10**9,
            "Timeout": 10**9,
            "Retries": 2,
            "StartPeriod": 10**9,
        },
        "HostConfig": {
            "Binds": [f"{NAME}:/named"],
            "Memory": 64 << 20,
            "MemorySwap": 128 << 20,
            "MemoryReservation": 32 << 20,
            "CpuShares": 512,
            "CpuPeriod": 100000,
            "CpuQuota": 50000,
            "CpusetCpus": "0",
            "PidsLimit": 50,
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
            "CapAdd": ["NET_ADMIN"],
            "CapDrop": ["MKNOD"],
            "Dns": ["192.0.2.1"],
            "DnsOptions": ["ndots:1"],
            "DnsSearch": ["example.com"],
            "ExtraHosts": ["other:192.0.2.2"],
            "GroupAdd": ["10"],
            "OomScoreAdj": 10,
            "ShmSize": 1 << 20,
            "Init": True,
            "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"},
            "Tmpfs": {"/scratch": "size=1m"},
            "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/nul", "CgroupPermissions": "r"}],
            "DeviceCgroupRules": ["c 1:3 r"],
            "Mounts": [
                {"Type": "tmpfs", "Target": "/small", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700}},
                {"Type": "volume", "Source": NAME, "Target": "/again", "VolumeOptions": {"NoCopy": True}},
            ],
            "Annotations": {"some.annotation": "1"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        },
        "NetworkingConfig": {"EndpointsConfig": {NAME: {"Aliases": ["alias"]}}},
    }


def everything(check: Check, image: str) -> None:
    check("GET", "/_ping")
    check("HEAD", "/_ping")
    check("GET", "/version")
    check("GET", "/info")
    check("POST", "/volumes/create", {"Name": NAME, "Labels": LABELS, "DriverOpts": {}})
    pool = {"Subnet": "10.123.45.0/24", "Gateway": "10.123.45.1", "IPRange": "10.123.45.128/25"}
    options = {"com.docker.network.driver.mtu": "1400"}
    check(
        "POST", "/networks/create",
        {"Name": NAME, "Labels": LABELS, "Options": options, "IPAM": {"Driver": "default", "Config": [pool]}},
    )  # fmt: skip
    made = check("POST", "/containers/create", a_container(image), name=NAME)
    containers(check, made["Id"])
    images(check, image)
    check("GET", "/events", since="1", until=_now())
    check("GET", "/networks")
    check("GET", "/networks/{id}", names=(NAME,))
    check("GET", "/volumes")
    check("GET", "/volumes/{name}", names=(NAME,))
    check("GET", "/system/df")
    check("DELETE", "/containers/{id}", names=(NAME,), force=1, v=1)
    for what in ("containers", "volumes", "networks", "images"):
        check("POST", f"/{what}/prune", filters=json.dumps({"label": [NAME]}))
    check("POST", "/build/prune", filters=json.dumps({"until": ["1000h"]}))
    for path in ("/plugins", "/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs"):
        check("GET", path)


def _now() -> str:
    return str(int(time.time()))


def containers(check: Check, id: str) -> None:
    one = (id,)
    check("GET", "/containers/{id}/json", names=one)
    check("POST", "/containers/{id}/start", names=one)
    check("POST", "/networks/{id}/connect", {"Container": id}, names=("bridge",))
    check("GET", "/containers/{id}/json", names=one, size=1)
    check("GET", "/containers/json", all=1, size=1, filters=json.dumps({"label": [NAME]}))
    check("GET", "/networks/{id}", names=(NAME,))
    check("GET", "/containers/{id}/top", names=one)
    check("GET", "/containers/{id}/stats", names=one, stream=0)
    check("GET", "/containers/{id}/logs", names=one, stdout=1)
    made = check("POST", "/containers/{id}/exec", {"Cmd": ["touch", "/new"], "AttachStdout": True}, names=one)
    check("POST", "/exec/{id}/start", {"Detach": True}, names=(made["Id"],))
    check("GET", "/exec/{id}/json", names=(made["Id"],))
    check("GET", "/containers/{id}/changes", names=one)
    check("HEAD", "/containers/{id}/archive", names=one, path="/etc")
    check("GET", "/containers/{id}/archive", names=one, path="/etc/passwd")
    check("PUT", "/containers/{id}/archive", a_tar("file", b"text"), names=one, path="/tmp")
    check("POST", "/containers/{id}/update", {"Memory": 80 << 20, "RestartPolicy": {"Name": "no"}}, names=one)
    for verb in ("pause", "unpause"):
        check("POST", f"/containers/{{id}}/{verb}", names=one)
    check("POST", "/containers/{id}/rename", names=one, name=f"{NAME}-2")
    check("POST", "/containers/{id}/rename", names=one, name=NAME)
    check("POST", "/containers/{id}/restart", names=one, t=0)
    check("POST", "/containers/{id}/kill", names=one)
    check("POST", "/containers/{id}/wait", names=one)
    check("POST", "/containers/{id}/stop", names=one)
    check("GET", "/containers/{id}/json", names=one)
    check("POST", "/networks/{id}/disconnect", {"Container": id}, names=("bridge",))
    check("POST", "/commit", {}, container=id, repo=NAME, tag="committed", comment="why", author="who")


def images(check: Check, image: str) -> None:
    made = f"{NAME}:committed"
    check("GET", "/images/json", **{"shared-size": 1, "manifests": 1})
    check("GET", "/images/{name}/json", names=(image,))
    check("GET", "/images/{name}/json", names=(made,), manifests=1)
    check("GET", "/images/{name}/history", names=(made,))
    check("POST", "/images/{name}/tag", names=(made,), repo=NAME, tag="other")
    check("GET", "/images/{name}/get", names=(made,))
    check("POST", "/images/load", check.engine.ask("GET", f"/images/{made}/get")[1])
    dockerfile = (
        f"FROM {image}\nLABEL {NAME}=1\nRUN true\nHEALTHCHECK CMD true\nEXPOSE 80\nVOLUME /data\nONBUILD RUN true\n"
    )
    check("POST", "/build", a_tar("Dockerfile", dockerfile.encode()), t=f"{NAME}:built")
    check("GET", "/images/{name}/json", names=(f"{NAME}:built",))
    check("GET", "/system/df")
    check("POST", "/images/create", fromImage=f"127.0.0.1:1/{ABSENT}")
    for tag in ("built", "committed", "other"):
        check("DELETE", "/images/{name}", names=(f"{NAME}:{tag}",))
    check("POST", "/auth", {"username": "a", "password": "b", "serveraddress": "127.0.0.1:1"})
    check("GET", "/distribution/{name}/json", names=("127.0.0.1:5000/library/busybox",))


def a_tar(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def main() -> None:
    spec, host, image = sys.argv[1:4]
    schema = Schema(Path(spec))
    check = Check(Engine(host, schema.version), schema)
    routes(check)
    try:
        everything(check, image)
    finally:
        for path in (f"/containers/{NAME}?force=1&v=1", f"/networks/{NAME}", f"/volumes/{NAME}"):
            check.engine.ask("DELETE", path)
    print("\n".join(sorted(check.findings)))
    silent = [f"{method} {path}" for method, path in sorted(schema.operations()) if (method, path) not in check.asked]
    print(f"asked {len(check.asked)} operations; not: {', '.join(silent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
