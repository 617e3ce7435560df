"""Automatic removal of images that nobody uses: by age, by the size of all layers, or both. Off unless `--image-gc`
says otherwise.

*Used* is: pulled, loaded, made, tagged, or a container or a build started from it. An image that a container has (also
one that is stopped) or that another image here is built on always stays, whatever the limits say.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sampan.errors import SampanError

if TYPE_CHECKING:
    from sampan.images.service import Images

log = logging.getLogger(__name__)

INTERVAL = 600.0
"""Seconds between two looks."""

_YOUNG = 3600.0
"""Seconds in which an image does not go for its size: who pulls means to use."""


class Expiry:
    """`unused`: seconds without use; `size`: bytes of all layers. 0: no such limit."""

    def __init__(self, images: Images, unused: float, size: int, now: Callable[[], float] = time.time) -> None:
        self._images, self._unused, self._size, self._now = images, unused, size, now

    async def forever(self) -> None:
        while True:
            try:
                await self.run()
            except Exception:
                log.exception("removing unused images failed")
            await asyncio.sleep(INTERVAL)

    async def run(self) -> list[str]:
        """The ids that were removed, longest unused first."""
        removed: list[str] = []
        for id, used in self._candidates():
            old = self._unused and used < self._now() - self._unused
            large = self._size and used < self._now() - _YOUNG and self._images.layers_size() > self._size
            if (old or large) and await asyncio.to_thread(self._remove, id):
                log.info("removed image %s: unused for %d hours", id, (self._now() - used) / 3600)
                removed.append(id)
        return removed

    def _candidates(self) -> list[tuple[str, float]]:
        """(id, last use), longest unused first. What has no record of its use yet begins now."""
        found = []
        for id in list(self._images.holdings.catalog.images):
            if not self._images.users(id):
                found.append((id, self._images.last_used(id)))
        return sorted(found, key=lambda item: item[1])

    def _remove(self, id: str) -> bool:
        """Without force: who began to use it meanwhile keeps it."""
        image = self._images.resolve(id)
        try:
            for name in image.repo_tags or [id]:
                self._images.delete(name)
        except SampanError as error:
            log.debug("image %s stays: %s", id, error.message)
        return id not in self._images.holdings.catalog.images
