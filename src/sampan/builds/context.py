"""The build context: a tar from a client, or what a URL or a git repository gives, as a directory of its own.

A context lives below `<data root>/builds/`, and goes with its build; what a killed daemon left goes at its next start.
Its tar is indexed, not unpacked (`indexing`), until somebody needs its files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.builds.copying import Copier
from sampan.builds.ignore import Ignore
from sampan.builds.indexing import Index, Node
from sampan.errors import InvalidParameter
from sampan.images.pipe import feed, finished
from sampan.linux import openat2, trees

_DOCKERFILE_LIMIT = 16 << 20


class Context:
    """A directory with the context's files. `close` removes it. `filtered`: .dockerignore has been applied."""

    def __init__(self, path: Path, index: Index | None = None) -> None:
        self.path = path
        self.index = index
        self.filtered = True
        self._root = path / "root"
        self._unpacking = threading.Lock()
        self._unpacked = index is None

    @property
    def root(self) -> Path:
        """Where its files are; they are unpacked when somebody asks for them first. Blocks then."""
        with self._unpacking:
            if not self._unpacked:
                assert self.index is not None
                lay(self.index, self.index.root, self._root)
                self._unpacked = True
        return self._root

    def read(self, name: str) -> bytes | None:
        """A file, inside the context whatever it links to; None when it is not there."""
        if self.index is not None:
            node = self.index.find(name)
            if node is not None and stat.S_ISREG(node.st_mode) and node.size <= _DOCKERFILE_LIMIT:
                return b"".join(self.index.read(node))
            if self.index.lacks(name):
                return None
        with openat2.root(self.root) as root:
            try:
                return openat2.read_in_root(root, name, _DOCKERFILE_LIMIT)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise InvalidParameter(f"cannot read {name}: {error.strerror}") from None

    def beside(self, name: str) -> Path:
        """A directory that was sent along, beside the context's own files. The name and what lies there are the
        client's. Raises `InvalidParameter`.
        """
        resolve = openat2.RESOLVE_BENEATH | openat2.RESOLVE_NO_SYMLINKS
        try:
            with openat2.root(self.path) as root:
                os.close(openat2.openat2(root, name, os.O_PATH | os.O_DIRECTORY, resolve=resolve))
            return self.path.joinpath(name).resolve(strict=True)
        except (OSError, ValueError) as error:
            raise InvalidParameter(f"no context was sent as {name}: {error}") from None

    def remove(self, name: str) -> None:
        """Takes a file out of the context."""
        if self.index is not None:
            self.index.remove(name)
            if not self._unpacked:
                return
        with openat2.root(self.root) as root, contextlib.suppress(OSError):
            parent, last = openat2.open_parent(root, name)
            try:
                os.unlink(last, dir_fd=parent)
            finally:
                os.close(parent)

    def filter(self, rules: Ignore) -> None:
        """Removes what .dockerignore leaves out. Blocks."""
        root, self.index = self.root, None
        waiting = [(root, "")]
        while waiting:
            directory, path = waiting.pop()
            for entry in list(os.scandir(directory)):
                inner = f"{path}/{entry.name}" if path else entry.name
                is_directory = entry.is_dir(follow_symlinks=False)
                if rules.skips(inner, is_directory):
                    trees.remove(Path(entry.path)) if is_directory else Path(entry.path).unlink()
                elif is_directory:
                    waiting.append((Path(entry.path), inner))
        self.filtered = True

    def set_aside(self, name: str, beside: str) -> None:
        """Moves a directory of the context out of it."""
        node = self.index.remove(name) if self.index is not None else None
        if self.index is not None and node is not None and node.is_directory:
            lay(self.index, node, self.path / beside)

    def close(self) -> None:
        """Blocks."""
        if self.index is not None:
            self.index.close()
        trees.remove(self.path)

    async def leave(self) -> None:
        """`close`, also when the client goes away meanwhile: a thread that has not begun would never run."""
        await finished(asyncio.get_running_loop().run_in_executor(None, self.close))


class Contexts:
    """Makes contexts. `clean` once at start."""

    def __init__(self, data_root: Path) -> None:
        self._place = data_root / "builds"

    def clean(self) -> None:
        """Blocks. Whatever is there belongs to builds of an earlier daemon."""
        if self._place.is_dir():
            for kind in ("context", "remote"):
                for leftover in self._place.glob(f"{kind}-*"):
                    shutil.rmtree(leftover, ignore_errors=True)

    def new(self, kind: str = "context") -> Context:
        """An empty one. `kind` context or remote: what ADD fetched is not unpacked as a local archive is."""
        if not self._place.is_dir():
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            trees.spread(self._place)
        context = Context(self._place / f"{kind}-{os.urandom(8).hex()}")
        context.path.mkdir(mode=0o700)
        context.root.mkdir()
        context.root.chmod(0o755)
        return context

    def indexed(self) -> tuple[Context, Index]:
        """An empty one, to be filled by its index."""
        context = self.new()
        index = Index(context.path / "data")
        return Context(context.path, index), index

    async def receive(self, archive: AsyncIterator[bytes]) -> Context:
        """A tar in any compression. Raises `BadArchive`, `InvalidParameter`, `SampanError`; nothing stays then."""
        context, index = self.indexed()
        try:
            await feed(archive, index.fill)
        except BaseException:
            await context.leave()
            raise
        return context


def lay(index: Index, node: Node, place: Path) -> None:
    """A directory of a context that is not unpacked, as files. Blocks."""
    place.mkdir(exist_ok=True)
    with openat2.root(place) as root, Copier(root) as copier:
        copier.lay(node, index, "", "/")
