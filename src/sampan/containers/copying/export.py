"""`docker export`: the root filesystem as one tar, without the volumes and without what is mounted in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from sampan.containers.copying.views import Views
from sampan.containers.model import Container
from sampan.images.tar.packing import Options, pack


class Export:
    """Iterate for chunks; `close` it, also unread. Making one blocks."""

    def __init__(self, views: Views, container: Container, rootfs: Path) -> None:
        with ExitStack() as stack:
            view = stack.enter_context(views.open(container, rootfs, with_mounts=False))
            chunks = pack(view.root, ".", b"", Options(one_filesystem=True))
            stack.callback(chunks.close)
            self._chunks = chunks
            self._stack = stack.pop_all()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Idempotent. Must not run while a chunk is being made in another thread."""
        self._stack.close()
