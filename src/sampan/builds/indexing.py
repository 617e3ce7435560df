"""A context that is not unpacked: a tree of what its tar says, and one file with all the contents after each other.

Making a file costs far more than reading one. A COPY goes from here straight into the layer, so its files are made
once, and a build that is cached makes none. Whatever needs real files (a bind mount, an archive to unpack, a link to
follow) gets them from `Index.unpack`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sampan.errors import SampanError
from sampan.images.compression import decompress
from sampan.images.tar import headers
from sampan.images.tar.headers import Entry
from sampan.images.tar.reader import TarReader

_KINDS = {
    headers.FILE: stat.S_IFREG,
    headers.DIRECTORY: stat.S_IFDIR,
    headers.SYMLINK: stat.S_IFLNK,
    headers.CHARACTER: stat.S_IFCHR,
    headers.BLOCKDEV: stat.S_IFBLK,
    headers.FIFO: stat.S_IFIFO,
}
_MAX_LINKS = 40


@dataclass(slots=True, eq=False)
class Node:
    """One file, with stat(2)'s names where it has them. `content` is the sha256 of a regular file's bytes, which are
    `size` bytes from `offset` in the index's file. Hard links are one node in several places."""

    st_mode: int
    st_uid: int = 0
    st_gid: int = 0
    st_mtime_ns: int = 0
    size: int = 0
    offset: int = 0
    content: bytes = b""
    link: str = ""
    device: int = 0
    xattrs: dict[str, bytes] | None = None
    links: int = 1
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.st_mode)


class Index:
    """See the module. `data` is the descriptor of the file with the contents; `close` it."""

    def __init__(self, data: Path) -> None:
        self.root = Node(stat.S_IFDIR | 0o755, st_mtime_ns=time.time_ns())
        self.data = os.open(data, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._end = 0

    @property
    def end(self) -> int:
        """Where the next file's bytes go."""
        return self._end

    def continue_on(self, data: int, end: int) -> None:
        """Takes over a file that has contents up to `end`, instead of its own, which is still empty."""
        self.close()
        self.data, self._end = data, end

    def close(self) -> None:
        if self.data >= 0:
            os.close(self.data)
            self.data = -1

    # -- filling -----------------------------------------------------------------------------------
    def fill(self, chunks: Iterable[bytes]) -> None:
        """Reads a tar in any compression, by the rules of `containers.extracting`. Blocks."""
        reader = TarReader(decompress(chunks))
        for entry in reader:
            self._add(entry, reader)
        reader.drain()

    def _add(self, entry: Entry, reader: TarReader) -> None:
        name = posixpath.normpath(os.fsdecode(entry.name) or ".").lstrip("/") or "."
        if name == ".." or name.startswith("../"):
            raise SampanError(f'"{name}" is outside of "/"')
        self.put(name, self._node(entry, reader, name))

    def put(self, name: str, node: Node) -> None:
        """In its place, `name` being normal and inside; what was there goes, but for a directory's content."""
        if name == ".":
            if node.is_directory:
                node.children = self.root.children
                self.root = node
            return
        head, _, last = name.rpartition("/")
        parent = self._directory(head, name)
        old = parent.children.get(last)
        if old is not None and old.is_directory and node.is_directory:
            node.children = old.children
        parent.children[last] = node

    def _node(self, entry: Entry, reader: TarReader, name: str) -> Node:
        if entry.type == headers.LINK:
            target = self.find(posixpath.normpath("/" + os.fsdecode(entry.link)), follow=False)
            if target is None or target.is_directory:
                raise SampanError(f"link /{name}: no such file or directory")
            target.links += 1
            return target
        kind = _KINDS.get(entry.type)
        if kind is None:
            raise SampanError(f"unhandled tar header type {entry.type[0]}")
        node = Node(kind | entry.mode, entry.uid, entry.gid, entry.mtime, xattrs=entry.xattrs)
        if kind == stat.S_IFREG:
            self._store(node, entry, reader)
        elif kind == stat.S_IFLNK:
            node.link = os.fsdecode(entry.link)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            node.device = os.makedev(entry.major, entry.minor)
        return node

    def _store(self, node: Node, entry: Entry, reader: TarReader) -> None:
        digest = hashlib.sha256()
        self.reserve(node, entry.real_size)
        if entry.sparse is None:
            position = node.offset
            for piece in reader.data():
                digest.update(piece)
                position = self.write(piece, position)
        else:
            self._store_sparse(node, entry, reader)
            for data in self.read(node):
                digest.update(data)
        node.content = digest.digest()

    def reserve(self, node: Node, size: int) -> None:
        """A place for a file's bytes; `write` them, and set `content`."""
        node.offset, node.size = self._end, size
        self._end += size

    def _store_sparse(self, node: Node, entry: Entry, reader: TarReader) -> None:
        os.ftruncate(self.data, node.offset + node.size)
        extents = iter(entry.sparse or ())
        offset = left = 0
        for data in reader.data():
            while data:
                if not left:
                    offset, left = next(extents)
                taken = min(left, len(data))
                self.write(data[:taken], node.offset + offset)
                offset, left, data = offset + taken, left - taken, data[taken:]

    def write(self, piece: memoryview, position: int) -> int:
        """Returns the position behind it."""
        while piece:
            try:
                written = os.pwrite(self.data, piece, position)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise SampanError("no space left on device: the build context does not fit") from None
                raise
            position, piece = position + written, piece[written:]
        return position

    def _directory(self, path: str, name: str) -> Node:
        """The directory an entry goes into, made when the archive does not have it."""
        node = self.root
        for place in self._walk(path):
            if place is None or not place[1].is_directory:
                raise SampanError(f"mkdir /{name}: not a directory")
            node = place[1]
        return node

    def _walk(self, path: str) -> Iterator[tuple[str, Node] | None]:
        """Every directory on the way, symlinks followed inside the tree; missing ones are made."""
        stack = [self.root]
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                stack = stack[:-1] or stack
                continue
            node = stack[-1].children.get(part)
            if node is None:
                node = stack[-1].children[part] = Node(stat.S_IFDIR | 0o755, st_mtime_ns=time.time_ns())
            if stat.S_ISLNK(node.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    yield None
                    return
                if node.link.startswith("/"):
                    stack = [self.root]
                pending += [part for part in reversed(node.link.split("/")) if part not in ("", ".")]
            else:
                stack.append(node)
            yield part, stack[-1]

    # -- looking -----------------------------------------------------------------------------------
    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """None when it is not there, or (with `follow`) a symlink is on the way or is the last: that wants a kernel."""
        node = self.root
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for number, part in enumerate(parts):
            found = node.children.get(part)
            if found is None:
                return None
            if stat.S_ISLNK(found.st_mode) and (follow or number < len(parts) - 1):
                return None
            node = found
        return node

    def lacks(self, path: str) -> bool:
        """Certainly not there, whatever symlinks say."""
        node = self.root
        for part in (part for part in path.split("/") if part not in ("", ".")):
            if stat.S_ISLNK(node.st_mode):
                return False
            found = node.children.get(part)
            if found is None:
                return True
            node = found
        return False

    def read(self, node: Node) -> Iterator[bytes]:
        offset, left = node.offset, node.size
        while left and (data := os.pread(self.data, min(left, 1 << 20), offset)):
            yield data
            offset, left = offset + len(data), left - len(data)

    def remove(self, path: str) -> Node | None:
        """Takes a file or directory out."""
        head, _, last = path.strip("/").rpartition("/")
        parent = self.find(head)
        return parent.children.pop(last, None) if parent is not None else None
