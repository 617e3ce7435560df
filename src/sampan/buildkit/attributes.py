"""The Dockerfile frontend's attributes, an export's and a cache's, as `BuildOptions`. Pure.

Source: BuildKit frontend/dockerui/{config,attr,context}.go, frontend/attestations/parse.go; buildx build/opt.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sampan import golang
from sampan.builds.dockerfile.scalars import csv_fields
from sampan.builds.model import BuildOptions, Provenance
from sampan.builds.outputs.requests import Output, output
from sampan.builds.sharing.requests import INLINE, CacheFrom, CacheTo, cache_from, cache_to
from sampan.containers.model import HostConfig, Ulimit
from sampan.errors import InvalidParameter, NotSupported
from sampan.images import Platform, platforms

FRONTENDS = ("dockerfile.v0", "gateway.v0")
"""The second is a Dockerfile frontend in an image, what BUILDKIT_SYNTAX asks for. Ours serves for both."""
_MOBY = "moby"
"""dockerd's own exporter, what buildx asks its docker driver for: an image in the engine."""
_HERE = frozenset({"prefer-image-digest", "oci-artifact", "buildinfo-attrs", "load", "unpack", "store"})
"""Attributes that ask for what is so here anyway, or for nothing an image of ours has."""


@dataclass(frozen=True, slots=True)
class Export:
    """`type` and `attrs` as asked for; `streams`: the client takes the result over its session."""

    type: str
    attrs: Mapping[str, str]

    @property
    def streams(self) -> bool:
        return self.type in ("local", "tar", "oci", "docker")

    @property
    def pushed(self) -> bool:
        return not self.streams and _true(self.attrs.get("push", ""))

    @property
    def names(self) -> list[str]:
        return [name for name in self.attrs.get("name", "").split(",") if name]


def outputs(exports: Iterable[Export]) -> list[Output]:
    found = []
    for export in exports:
        attrs = dict(export.attrs)
        kind = export.type
        if kind in (_MOBY, "image"):
            kind = "image"
            attrs = {key: value for key, value in attrs.items() if key not in _HERE}
        else:
            attrs.pop("prefer-image-digest", None)
            attrs.pop("oci-artifact", None)
        if _true(attrs.pop("push-by-digest", "")):
            raise NotSupported("push-by-digest is not supported")
        attrs.pop("registry.insecure", None)  # daemon.json says which registries are
        found.append(output(kind, attrs, export.streams))
    return found


def _true(text: str) -> bool:
    if not text:
        return False
    try:
        return golang.boolean(text)
    except ValueError as error:
        raise InvalidParameter(str(error)) from None


def options(
    attrs: Mapping[str, str],
    exports: Sequence[Export],
    caches_from: Iterable[tuple[str, Mapping[str, str]]],
    caches_to: Iterable[tuple[str, Mapping[str, str]]],
    entitlements: Iterable[str],
) -> BuildOptions:
    """Everything but what has to be asked of the client. Raises `InvalidParameter`, `NotSupported`."""
    for unsupported in ("hostname", "contextsubdir", "attest:sbom"):
        if attrs.get(unsupported):
            raise NotSupported(f"the build option {unsupported} is not supported")
    no_cache = attrs.get("no-cache")
    wanted = _platforms(attrs.get("platform", ""))
    return BuildOptions(
        dockerfile=attrs.get("filename") or "Dockerfile",
        args=_prefixed(attrs, "build-arg:"),
        labels=_prefixed(attrs, "label:"),
        target=attrs.get("target", ""),
        platform=wanted[0] if len(wanted) == 1 else None,
        platforms=wanted if len(wanted) > 1 else (),
        no_cache=no_cache == "",
        no_cache_filter=no_cache.split(",") if no_cache else (),
        cache_local=True,
        cache_sources=_sources(attrs, caches_from),
        cache_to=[_cache_to(type, given) for type, given in caches_to],
        pull=attrs.get("image-resolve-mode") == "pull",
        host_config=_host_config(attrs),
        outputs=outputs(exports),
        provenance=_provenance(attrs.get("attest:provenance")),
        entitlements=frozenset(entitlements),
        lint=True,
    )


def _prefixed(attrs: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in attrs.items() if key.startswith(prefix)}


def _platforms(text: str) -> list[Platform]:
    return [platforms.normalize(platforms.parse(one)) for one in text.split(",") if one]


def _provenance(text: str | None) -> Provenance | None:
    """`inline-only` is buildx's own default, for exporters that put it beside the image: nobody asked for it."""
    if text is None:
        return None
    given = dict(field.partition("=")[::2] for field in csv_fields(text)) if text else {}
    if _true(given.get("disabled", "")) or _true(given.get("inline-only", "")):
        return None
    mode = given.get("mode", "") or "min"
    if mode not in ("min", "max"):
        raise InvalidParameter(f"invalid provenance mode {mode}: there are min and max")
    return Provenance(everything=mode == "max")


class _Entry(msgspec.Struct, rename="pascal"):
    type: str
    attrs: dict[str, str] | None = None


def _sources(attrs: Mapping[str, str], caches: Iterable[tuple[str, Mapping[str, str]]]) -> list[CacheFrom]:
    given = list(caches)
    if text := attrs.get("cache-imports"):
        try:
            given += [(one.type, one.attrs or {}) for one in msgspec.json.decode(text.encode(), type=list[_Entry])]
        except msgspec.DecodeError as error:
            raise InvalidParameter(f"failed to unmarshal cache-imports: {error}") from None
    given += [("registry", {"ref": ref}) for ref in attrs.get("cache-from", "").split(",") if ref]
    found: list[CacheFrom] = []
    for type, one in given:
        if type == "local":
            raise NotSupported("--cache-from type=local is not supported through buildx: use `sampan build`")
        source = cache_from(type, {key: value for key, value in one.items() if key == "ref"})
        if source not in found:
            found.append(source)
    return found


def _cache_to(type: str, given: Mapping[str, str]) -> CacheTo:
    if type == "local":
        raise NotSupported("--cache-to type=local is not supported through buildx: use `sampan build`")
    return cache_to(type, {} if type == INLINE else given)


def _host_config(attrs: Mapping[str, str]) -> HostConfig:
    network = attrs.get("force-network-mode", "")
    if network not in ("", "none", "host", "sandbox"):
        raise InvalidParameter(f"invalid netmode {network}")
    return HostConfig(
        memory=_number(attrs, "memory"),
        memory_swap=_number(attrs, "memswap"),
        cpu_shares=_number(attrs, "cpushares"),
        cpu_period=_number(attrs, "cpuperiod"),
        cpu_quota=_number(attrs, "cpuquota"),
        cpuset_cpus=attrs.get("cpusetcpus", ""),
        cpuset_mems=attrs.get("cpusetmems", ""),
        cgroup_parent=attrs.get("cgroup-parent", ""),
        network_mode=network if network in ("none", "host") else "default",
        extra_hosts=[_host(one) for one in _fields(attrs, "add-hosts")] or None,
        shm_size=_number(attrs, "shm-size"),
        ulimits=[_ulimit(one) for one in _fields(attrs, "ulimit")] or None,
    )


def _number(attrs: Mapping[str, str], name: str) -> int:
    text = attrs.get(name, "")
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise InvalidParameter(f"failed to parse {name}: {text}") from None


def _fields(attrs: Mapping[str, str], name: str) -> list[str]:
    return csv_fields(attrs[name]) if attrs.get(name) else []


def _host(text: str) -> str:
    name, separator, address = text.partition("=")
    if not separator:
        raise InvalidParameter(f"invalid key-value pair {text}")
    return f"{name}:{address}"


def _ulimit(text: str) -> Ulimit:
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    try:
        return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))
    except ValueError:
        raise InvalidParameter(f"failed to parse ulimit: {text}") from None
