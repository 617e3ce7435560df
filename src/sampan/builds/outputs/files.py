"""The root file system of a result as a tar: `build --output type=local` and `type=tar`. Only what the image has; with
several platforms each below its own name, as BuildKit splits them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path

from sampan.containers.copying.outgoing import out_of_threads
from sampan.images.tar import writer
from sampan.images.tar.packing import Options, Packer, gathered


def directory(platform: str) -> str:
    """`linux_arm64`."""
    return platform.replace("/", "_")


def archive(roots: Sequence[tuple[str, Path]]) -> AsyncIterator[bytes]:
    """`roots`: (the name of what is in it, "" for the archive's own top, where it is mounted)."""
    chunks = _chunks(roots)
    return out_of_threads(chunks, chunks.close)


def _chunks(roots: Sequence[tuple[str, Path]]) -> Generator[bytes, None, None]:
    with contextlib.closing(_members(roots)) as members:
        yield from gathered(members, tail=writer.END)


def _members(roots: Sequence[tuple[str, Path]]) -> Generator[bytes, None, None]:
    for name, place in roots:
        # A packer each: inodes of different roots must not be taken for hard links.
        with contextlib.closing(Packer(Options())) as packer, contextlib.ExitStack() as stack:
            opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, opened)
            yield from packer.tree(opened, b".", name.encode())
