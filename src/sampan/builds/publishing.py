"""From the target stage's state to an image with names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from sampan.builds.model import State
from sampan.builds.work import Work
from sampan.errors import SampanError
from sampan.images import building, platforms
from sampan.images.model import History, ImageConfig, RootFS
from sampan.images.references import Reference


async def publish(work: Work, state: State, names: Sequence[Reference]) -> tuple[str, str]:
    """(image id, digest of its manifest). A Dockerfile of FROM alone gives the base itself."""
    images = work.services.images
    if work.options.squash and len(state.layers) > state.base_layers:
        state = await _squashed(work, state)
    config = image_config(state)
    if not state.base and not state.history:
        raise SampanError("No image was generated. Is your Dockerfile empty?")
    catalog = work.services.holdings.catalog
    if state.base and len(state.history) == len(state.image.history) and state.config == state.image.config:
        id = state.base
        for name in names:
            images.tag(id, name.familiar_name, name.tag)
    else:
        id = await images.publish(config, state.layers, names, work.lease)
    return id, catalog.images[id].manifest


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
