"""Sizes that a call has to measure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sampan.containers.model import Container
from sampan.errors import SampanError

if TYPE_CHECKING:
    from sampan.engine import Engine


async def container(engine: Engine, value: Container) -> tuple[int, int]:
    """(writable layer, the whole root) in bytes."""
    own = await asyncio.to_thread(engine.snapshots.usage, value.id)
    try:
        below = engine.images.resolve(value.image_id).size
    except SampanError:
        below = 0
    return own, own + below
