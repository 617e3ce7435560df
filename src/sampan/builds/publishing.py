"""From the target stage's state to an image with names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sampan.builds.model import State
from sampan.builds.work import Work
from sampan.errors import SampanError
from sampan.images import building, platforms
from sampan.images.digests import digest
from sampan.images.importing import encode_config
from sampan.images.model import History, ImageConfig, Platform, RootFS
from sampan.images.references import Reference


@dataclass(frozen=True, slots=True)
class Result:
    """A target stage as an image. `config` is the config's bytes; `base`: the image it is, when it is a base alone."""

    work: Work
    state: State
    image: ImageConfig
    config: bytes
    base: str = ""

    @property
    def id(self) -> str:
        return self.base or digest(self.config)

    @property
    def platform(self) -> Platform:
        image = self.image
        return platforms.normalize(Platform(architecture=image.architecture, os=image.os, variant=image.variant))


async def result(work: Work, state: State) -> Result:
    """A Dockerfile of FROM alone gives the base itself."""
    if work.options.squash and len(state.layers) > state.base_layers:
        state = await _squashed(work, state)
    if not state.base and not state.history:
        raise SampanError("No image was generated. Is your Dockerfile empty?")
    if state.base and len(state.history) == len(state.image.history) and state.config == state.image.config:
        return Result(work, state, state.image, work.services.holdings.content.read(state.base), state.base)
    image = image_config(state)
    return Result(work, state, image, encode_config(image))


async def publish(result: Result, names: Sequence[Reference]) -> str:
    """In this engine, its layers as they are here. Returns the image's id."""
    images = result.work.services.images
    if not result.base:
        return await images.publish(result.image, result.state.layers, names, result.work.lease)
    for name in names:
        images.tag(result.base, name.familiar_name, name.tag)
    return result.base


def image_config(state: State) -> ImageConfig:
    base, host = state.image, platforms.host()
    return ImageConfig(
        architecture=base.architecture or host.architecture,
        os=base.os or "linux",
        variant=base.variant,
        os_version=base.os_version,
        created=state.created,
        author=state.author,
        config=state.config,
        rootfs=RootFS(diff_ids=[layer.diff_id for layer in state.layers]),
        history=list(state.history),
    )


async def _squashed(work: Work, state: State) -> State:
    """All of the build's layers as one. The history stays; its last row has the layer."""
    base = state.layers[state.base_layers - 1].chain_id if state.base_layers else None
    mounted = await work.root(state.chain_id)
    holdings, lease = work.services.holdings, work.lease
    layer = await work.thread(functools.partial(building.squash, holdings, mounted, base, lease))
    begun = len(state.image.history)
    rows = [
        History(row.created, row.created_by, row.author, row.comment, empty_layer=True) for row in state.history[begun:]
    ]
    rows.append(History(created=state.created, comment=f"merge of {len(rows)} steps on {state.base or 'scratch'}"))
    return replace(state, layers=(*state.layers[: state.base_layers], layer), history=(*state.history[:begun], *rows))
