"""What a build is asked for, and what its steps pass on to one another.

Words: a *step* is one instruction of a stage that is needed; its *state* is the image so far (config, layers,
history) and the *key* that names how it came about (see `cache`). States are values: a step makes a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from sampan.builds.outputs.requests import Output
from sampan.builds.sharing.requests import CacheFrom, CacheTo
from sampan.builds.ssh import Ask
from sampan.containers.model import HostConfig
from sampan.errors import SampanError
from sampan.images.building import SealedLayer
from sampan.images.model import History, ImageConfig, Platform, RunConfig
from sampan.images.service import RegistryAuth


class StepFailed(SampanError):
    """A RUN ended with a code other than 0, or another step failed. `code` is the exit code, 0 for none; `excerpt`
    shows
    the Dockerfile's lines."""

    def __init__(self, message: str, code: int = 0, excerpt: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.excerpt = excerpt


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """An attestation that says how the image was made. `everything`: mode=max, with the build's arguments."""

    everything: bool = False
    version: str = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """`args` of None take their default. `contexts` are named contexts (`docker-image://…`)."""

    dockerfile: str = "Dockerfile"
    tags: Sequence[str] = ()
    args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    platform: Platform | None = None
    platforms: Sequence[Platform] = ()
    """Of one build for several; `platform` is each one's in turn."""
    no_cache: bool = False
    no_cache_filter: Sequence[str] = ()
    """Names of stages that are built anew."""
    cache_from: Sequence[str] = ()
    """Images whose history counts as cache. Without `cache_local` instead of this machine's own, as in Docker."""
    cache_local: bool = False
    cache_sources: Sequence[CacheFrom] = ()
    """Caches that other machines may have made, looked at after this one's own."""
    cache_to: Sequence[CacheTo] = ()
    pull: bool = False
    squash: bool = False
    host_config: HostConfig = field(default_factory=HostConfig)
    """Limits, network mode, extra hosts… of RUN steps."""
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: Mapping[str, Ask] = field(default_factory=dict)
    """The client's agents, by id."""
    outputs: Sequence[Output] = ()
    """None is an image in this engine."""
    provenance: Provenance | None = None
    contexts: Mapping[str, str] = field(default_factory=dict)
    entitlements: frozenset[str] = frozenset()
    """`security.insecure`, `network.host`."""
    auths: Mapping[str, RegistryAuth] = field(default_factory=dict)
    """By registry, as the client's X-Registry-Config has them."""
    lint: bool = False
    """Tell what the build checks find."""
    check: bool = False
    """Only that: nothing is built."""
    describe: str = ""
    """`outline` or `targets`: only tell what the Dockerfile offers."""
    dockerfile_source: bytes | None = None
    """The Dockerfile itself, when it is not in the context."""

    @property
    def epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH: seconds that every time in the image is at most."""
        text = self.args.get("SOURCE_DATE_EPOCH") or ""
        return int(text) if text.isdigit() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    key: str
    base: str = ""
    """Id of the image the stage began with; "" for scratch."""
    config: RunConfig = field(default_factory=RunConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    """The base's, for platform and the like; its `config`, `rootfs` and `history` are not used."""
    layers: tuple[SealedLayer, ...] = ()
    base_layers: int = 0
    history: tuple[History, ...] = ()
    author: str = ""
    created: str = ""
    args: tuple[tuple[str, str], ...] = ()
    """The stage's ARGs that have a value, in order of appearance. An ENV of the same name takes one away."""
    commanded: bool = False
    """CMD was set in this stage: ENTRYPOINT leaves it alone."""

    @property
    def chain_id(self) -> str | None:
        return self.layers[-1].chain_id if self.layers else None

    @property
    def environment(self) -> dict[str, str]:
        """What variables stand for: the last ENV or ARG of a name counts, as in BuildKit."""
        return {**self.env, **dict(self.args)}

    @property
    def env(self) -> dict[str, str]:
        return dict(entry.partition("=")[::2] for entry in self.config.env or [])

    def keyed(self, key: str) -> State:
        return replace(self, key=key)

    def with_step(self, key: str, step: History, layer: SealedLayer | None) -> State:
        return replace(
            self,
            key=key,
            history=(*self.history, step),
            layers=(*self.layers, layer) if layer is not None else self.layers,
            created=step.created,
        )


def copied(config: RunConfig) -> RunConfig:
    """Deep enough to be changed."""
    return msgspec.convert(msgspec.to_builtins(config), RunConfig)
