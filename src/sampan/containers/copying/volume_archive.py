"""A volume's content as a tar, out and in: owners, modes, times, extended attributes, holes, hard links and devices.

Docker has no such thing (moby#32263); the names are podman's. The volume is held while the work runs, and walked by
descriptors: containers may use it at the same time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack

from sampan.containers.copying.extracting import Rules, extract
from sampan.containers.copying.outgoing import out_of_threads
from sampan.images.pipe import feed
from sampan.images.tar.packing import Options, pack
from sampan.linux import openat2
from sampan.volumes import Volumes

_FAITHFUL = Options(xattrs=("",), faithful=True)


class _Export:
    """Iterate for chunks; `close` it, also unread."""

    def __init__(self, volumes: Volumes, name: str) -> None:
        with ExitStack() as stack:
            root = _opened(volumes, name, stack)
            chunks = pack(root, ".", ".", _FAITHFUL)
            stack.callback(chunks.close)
            self._chunks = chunks
            self._stack = stack.pop_all()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self._stack.close()


class VolumeArchives:
    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    async def export(self, name: str) -> AsyncIterator[bytes]:
        """A tar of all that is in the volume. Raises `NotFound`."""
        self._volumes.get(name)
        made = await asyncio.to_thread(_Export, self._volumes, name)
        return out_of_threads(iter(made), made.close)

    async def import_(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Unpacks a tar (compressed or not) into an existing volume, over what is there. Raises `NotFound`."""
        self._volumes.get(name)
        await feed(chunks, lambda pipe: _import(self._volumes, name, pipe))


def _import(volumes: Volumes, name: str, chunks: Iterable[bytes]) -> None:
    with ExitStack() as stack:
        extract(chunks, _opened(volumes, name, stack), "", Rules(root=True))


def _opened(volumes: Volumes, name: str, stack: ExitStack) -> int:
    """The volume's directory, mounted if its driver options ask for it, until the stack closes."""
    holder = f"archive:{os.urandom(8).hex()}"
    path = volumes.acquire(name, holder)
    stack.callback(volumes.release, name, holder)
    root = openat2.open_root(path)
    stack.callback(os.close, root)
    return root
