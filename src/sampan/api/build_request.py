"""What `POST /build` asks for: Docker's own parameters, and those of our own client (`events=1`)."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from sampan.api import decoding
from sampan.api.call import Call
from sampan.api.handlers.images import Auth, auth_of
from sampan.builds import BuildOptions
from sampan.builds.model import Provenance
from sampan.builds.outputs.requests import output
from sampan.builds.sharing.requests import cache_from, cache_to
from sampan.containers.model import HostConfig, Ulimit
from sampan.errors import InvalidParameter, NotSupported, SampanError
from sampan.images import platforms
from sampan.images.service import RegistryAuth


def options(call: Call) -> BuildOptions:
    """Raises `InvalidParameter`, `NotSupported`."""
    if call.text("outputs") and not call.flag("events"):
        raise NotSupported("exporters other than images are not supported by the classic POST /build")
    wanted = call.text("platform") if call.version >= (1, 32) else ""
    several = wanted.split(",") if call.flag("events") else [wanted]  # Docker's parameter is one
    found = [platforms.parse(text.strip()) for text in several if text.strip()]
    return BuildOptions(
        dockerfile=call.text("dockerfile") or "Dockerfile",
        tags=[tag for tag in call.texts("t") if tag],
        args=json(call, "buildargs", dict[str, str | None]) or {},
        labels=json(call, "labels", dict[str, str]) or {},
        target=call.text("target"),
        platform=found[0] if len(found) == 1 else None,
        platforms=found if len(found) > 1 else (),
        no_cache=call.flag("nocache"),
        no_cache_filter=call.texts("nocachefilter"),
        cache_from=json(call, "cachefrom", list[str]) or [],
        cache_local=call.flag("cachelocal"),
        cache_sources=[cache_from(one.type, one.attrs, one.source) for one in _entries(call, "cachesources")],
        cache_to=[cache_to(one.type, one.attrs) for one in _entries(call, "cacheto")],
        outputs=[output(one.type, one.attrs, one.streams) for one in _entries(call, "outputs")],
        provenance=_provenance(call),
        ssh={id: call.engine.builds.agents.of(call.text("sshsession"), id) for id in call.texts("ssh")},
        pull=call.flag("pull"),
        lint=call.flag("events"),
        check=call.flag("check"),
        describe=call.text("describe"),
        squash=call.flag("squash"),
        host_config=_host_config(call),
        secrets=_secrets(call),
        contexts=json(call, "contexts", dict[str, str]) or {},
        entitlements=frozenset(call.texts("allow")),
        auths=_auths(call),
    )


class _Entry(msgspec.Struct, rename="pascal"):
    """An output or a cache, in the spelling of the Engine API's `outputs`. `streams`: the client waits for it;
    `source`: where the client's files are in the context."""

    type: str
    attrs: dict[str, str] = {}
    streams: bool = False
    source: str = ""


def _entries(call: Call, name: str) -> list[_Entry]:
    return json(call, name, list[_Entry]) or []


def _provenance(call: Call) -> Provenance | None:
    mode = call.text("provenance")
    if not mode:
        return None
    if mode not in ("min", "max"):
        raise InvalidParameter(f"invalid provenance mode {mode}: there are min and max")
    return Provenance(everything=mode == "max")


def json(call: Call, name: str, type_: Any) -> Any:
    """None for nothing."""
    text = call.text(name)
    if not text:
        return None
    try:
        return msgspec.json.decode(text.encode(), type=type_ | None)
    except msgspec.DecodeError as error:
        raise InvalidParameter(f"error reading {name}: {error}") from None


def _host_config(call: Call) -> HostConfig:
    hosts = [host for text in call.texts("extrahosts") for host in text.split(",") if host]
    return HostConfig(
        memory=call.number("memory") or 0,
        memory_swap=call.number("memswap") or 0,
        cpu_shares=call.number("cpushares") or 0,
        cpu_period=call.number("cpuperiod") or 0,
        cpu_quota=call.number("cpuquota") or 0,
        cpuset_cpus=call.text("cpusetcpus"),
        cpuset_mems=call.text("cpusetmems"),
        cgroup_parent=call.text("cgroupparent"),
        network_mode=call.text("networkmode") or "default",
        extra_hosts=hosts or None,
        shm_size=call.number("shmsize") or 0,
        ulimits=json(call, "ulimits", list[Ulimit]),
        security_opt=json(call, "securityopt", list[str]) or None,
    )


def _secrets(call: Call) -> dict[str, bytes]:
    """Our own client's: base64 of a JSON object whose values are base64."""
    header = call.request.headers.get("X-Sampan-Build-Secrets", "")
    if not header:
        return {}
    try:
        return msgspec.json.decode(base64.b64decode(header), type=dict[str, bytes])
    except (binascii.Error, msgspec.DecodeError) as error:
        raise InvalidParameter(f"error reading X-Sampan-Build-Secrets: {error}") from None


def _auths(call: Call) -> dict[str, RegistryAuth]:
    """`X-Registry-Config`: base64 JSON by registry. An unreadable one counts as none, as in Docker."""
    header = call.request.headers.get("X-Registry-Config", "")
    try:
        text = base64.urlsafe_b64decode(header.replace("+", "-").replace("/", "_") + "=" * (-len(header) % 4))
        given = decoding.convert(decoding.parse(text), dict[str, Auth], "AuthConfig") if text else {}
    except (binascii.Error, ValueError, SampanError):
        return {}
    found = {registry: auth_of(one) for registry, one in given.items()}
    return {registry: auth for registry, auth in found.items() if auth is not None}
