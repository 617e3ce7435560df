"""Images as the rest of the engine sees them: the OCI image config, and an image resolved from a reference.

An image's id is the sha256 of its config blob (as in Docker); a *reference* (name:tag or name@digest) points at a
manifest or
index in the content store, whose own bytes are kept, so a digest that was pulled can be pushed back unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """OCI platform: `os`/`architecture`[/`variant`]."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: list[str] = msgspec.field(default_factory=list, name="os.features")


class Healthcheck(msgspec.Struct, rename="pascal", omit_defaults=True):
    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    """`config` of an OCI image config: the defaults a container inherits."""

    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None
    args_escaped: bool = False


class History(msgspec.Struct, omit_defaults=True):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFS(msgspec.Struct):
    type: str = "layers"
    diff_ids: list[str] = msgspec.field(default_factory=list)


class ImageConfig(msgspec.Struct, omit_defaults=True):
    """The OCI image config (image-spec config.md), with the Docker fields that images in the wild carry."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    created: str = ""
    author: str = ""
    config: RunConfig = msgspec.field(default_factory=RunConfig)
    rootfs: RootFS = msgspec.field(default_factory=RootFS)
    history: list[History] = msgspec.field(default_factory=list)
    docker_version: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """One image for one platform, whole on this machine."""

    id: str
    """sha256:… of the config blob."""
    config: ImageConfig
    manifest_digest: str
    repo_tags: list[str] = field(default_factory=list)
    """Familiar names: `busybox:latest`, `127.0.0.1:5000/a/b:1`."""
    repo_digests: list[str] = field(default_factory=list)
    size: int = 0
    """Bytes of all unpacked layers."""

    @property
    def chain_id(self) -> str | None:
        """The top layer's chainID (image-spec, "Layer ChainID"); None for an image without layers."""
        from sampan.images.digests import chain_ids

        chain = chain_ids(self.config.rootfs.diff_ids)
        return chain[-1] if chain else None
