"""COPY and ADD onto a root filesystem: files merged into the image's tree, with owners and modes of one's own.

Everything goes by descriptors: the destination is resolved by the kernel with the image's root as "/", sources with
their own root as "/", and nothing below is followed. Rules (BuildKit's): a directory gives its contents, a file goes
to the destination's name or, when that ends in `/` or is a directory, into it; a destination that is a symlink is
followed; missing directories are made 0755 (or with --chmod's octal bits, see `modes`) and belong to --chown; a file
replaces a file, a directory merges with a directory, and neither replaces the other. The destination itself gets the
time of the directory that was copied to it, and nothing else of it.
"""

# ruff: noqa: PTH101

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.builds.checksums import Skip
from sampan.builds.indexing import Index, Node
from sampan.builds.modes import Mode
from sampan.errors import InvalidParameter, SampanError
from sampan.linux import copying, openat2

_FOLLOW_NOT = os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _FOLLOW_NOT
Original = os.stat_result | Node


@dataclass(slots=True)
class Copier:
    """One COPY's way of copying. `owner`: (uid, gid) for all, None keeps the source's. `mode`: --chmod. `time`: seconds
    since the epoch that all files get, None keeps theirs. `new_mode`: of directories on the way to a destination."""

    root: int
    owner: tuple[int, int] | None = None
    mode: Mode | None = None
    skip: Callable[[str, bool], bool] = field(default_factory=Skip)
    time: int | None = None
    new_mode: int = 0o755
    command: str = "COPY"
    _named: set[bytes] = field(default_factory=set)
    _links: dict[tuple[int, int], tuple[int, str]] = field(default_factory=dict)
    _laid: dict[Node, tuple[int, str]] = field(default_factory=dict)
    _kept: list[int] = field(default_factory=list)

    def __enter__(self) -> Copier:
        return self

    def __exit__(self, *exception: object) -> None:
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept = []

    # -- destinations ------------------------------------------------------------------------------
    def directory(self, path: str, mode: int | None = None) -> int:
        """The directory `path` of the image, made with its parents when missing. The caller closes it."""
        with contextlib.suppress(FileNotFoundError):
            return self._opened(path)
        place = openat2.resolve_in_root(self.root, path)
        made = b""
        for part in place.split(b"/"):
            parent, made = made, made + b"/" + part if made else part
            with contextlib.suppress(FileExistsError):
                directory = openat2.open_in_root(self.root, parent or b".", os.O_PATH | os.O_DIRECTORY)
                try:
                    os.mkdir(part, self.new_mode if mode is None else mode, dir_fd=directory)
                    if self.owner is not None and self.owner != (0, 0):
                        os.chown(part, *self.owner, dir_fd=directory, follow_symlinks=False)
                finally:
                    os.close(directory)
        return self._opened(path)

    def _opened(self, path: str) -> int:
        try:
            return openat2.open_in_root(self.root, path or "/", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                raise SampanError(f"cannot copy to non-directory: {path}") from None
            raise

    def is_directory(self, path: str) -> bool:
        try:
            opened = openat2.open_in_root(self.root, path, os.O_PATH)
        except OSError:
            return False
        try:
            return stat.S_ISDIR(os.fstat(opened).st_mode)
        finally:
            os.close(opened)

    # -- copying -----------------------------------------------------------------------------------
    def copy(self, parent: int, name: str, shown: str, destination: str) -> None:
        """What `name` is in the open directory `parent` to the absolute path `destination`. `shown` is the source's
        own name. Blocks."""
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            target = self.directory(destination)
            try:
                source = os.open(name, _DIRECTORY, dir_fd=parent)
                try:
                    self._tree(source, target, destination)
                finally:
                    os.close(source)
                os.utime(target, ns=self._times(found))
            finally:
                os.close(target)
            return
        target, last = self._place(destination, shown)
        try:
            self._entry(parent, name, target, last, found, _shown(destination, last))
        finally:
            os.close(target)

    def lay(self, node: Node, index: Index, shown: str, destination: str) -> None:
        """As `copy`, of what is not unpacked."""
        if node.is_directory:
            target = self.directory(destination)
            try:
                self._lay_tree(node, index, target, destination)
                os.utime(target, ns=self._times(node))
            finally:
                os.close(target)
            return
        target, last = self._place(destination, shown)
        try:
            self._lay_entry(node, index, target, last, _shown(destination, last))
        finally:
            os.close(target)

    def _place(self, destination: str, shown: str) -> tuple[int, str]:
        """(open directory, name in it) for one file."""
        if destination.endswith("/") or self.is_directory(destination):
            return self.directory(destination), shown
        place = openat2.resolve_in_root(self.root, destination)
        if place in self._named:  # BuildKit lets the last one win
            raise InvalidParameter(
                f"When using {self.command} with more than one source file, the destination must be a directory "
                "and end with a /"
            )
        self._named.add(place)
        head, _, last = os.fsdecode(place).rpartition("/")
        return self.directory(f"/{head}"), last

    def parents(self, path: str, sources: Callable[[str], Original], destination: str) -> list[tuple[str, Original]]:
        """The directories of the relative `path` below a destination, each new one with the attributes of its original,
        an old one with its mode (--parents). Gives the new ones, for `restore`."""
        made = []
        os.close(self.directory(destination))
        walked = ""
        for part in path.split("/"):
            walked = f"{walked}/{part}" if walked else part
            place, original = posixpath.join(destination, walked), sources(walked)
            new = not self.is_directory(place)
            opened = self.directory(place)
            try:
                if new:
                    os.fchown(opened, *self._owner(original))
                    made.append((place, original))
                os.fchmod(opened, self._bits(original))
            finally:
                os.close(opened)
        return made

    def restore(self, made: list[tuple[str, Original]]) -> None:
        """What was put into directories has changed their times."""
        for place, original in reversed(made):
            opened = self.directory(place)
            try:
                os.utime(opened, ns=self._times(original))
            finally:
                os.close(opened)

    def _lay_tree(self, node: Node, index: Index, target: int, destination: str) -> None:
        stack = [(node, target, "", sorted(node.children, reverse=True))]
        try:
            while stack:
                directory, writing, path, names = stack[-1]
                if not names:
                    stack.pop()
                    if stack:
                        self._settle(writing, directory)
                        os.close(writing)
                    continue
                name = names.pop()
                inner = f"{path}/{name}" if path else name
                child = directory.children[name]
                if self.skip(inner, child.is_directory):
                    continue
                if not child.is_directory:
                    self._lay_entry(child, index, writing, name, f"{destination.rstrip('/')}/{inner}")
                    continue
                self._make_directory(writing, name, f"{destination.rstrip('/')}/{inner}")
                opened = os.open(name, _DIRECTORY, dir_fd=writing)
                stack.append((child, opened, inner, sorted(child.children, reverse=True)))
        finally:
            for _, writing, _, _ in stack[1:]:
                os.close(writing)

    def _lay_entry(self, node: Node, index: Index, target: int, last: str, path: str) -> None:
        kind = stat.S_IFMT(node.st_mode)
        first = self._laid.get(node)
        if first is not None:
            self._make_room(target, last, path)
            os.link(first[1], last, src_dir_fd=first[0], dst_dir_fd=target, follow_symlinks=False)
            return
        if kind == stat.S_IFREG:
            self._lay_file(node, index, target, last, path)
        else:
            self._make_room(target, last, path)
            if kind == stat.S_IFLNK:
                os.symlink(node.link, last, dir_fd=target)
            else:
                os.mknod(last, node.st_mode, node.device, dir_fd=target)
            os.chown(last, *self._owner(node), dir_fd=target, follow_symlinks=False)
            if kind != stat.S_IFLNK:
                os.chmod(f"/proc/self/fd/{target}/{last}", self._bits(node))
            os.utime(last, ns=self._times(node), dir_fd=target, follow_symlinks=False)
        if node.links > 1:
            self._kept.append(os.dup(target))
            self._laid[node] = (self._kept[-1], last)

    def _lay_file(self, node: Node, index: Index, target: int, last: str, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NOT
        try:
            writing = os.open(last, flags, 0o600, dir_fd=target)
        except FileExistsError:
            self._make_room(target, last, path)
            writing = os.open(last, flags, 0o600, dir_fd=target)
        try:
            for data in index.read(node):
                view = memoryview(data)
                while view:
                    view = view[os.write(writing, view) :]
            self._settle(writing, node)
        finally:
            os.close(writing)

    def _settle(self, writing: int, node: Node) -> None:
        os.fchown(writing, *self._owner(node))
        os.fchmod(writing, self._bits(node))
        for attribute, value in (node.xattrs or {}).items():
            if _allowed(attribute):
                with contextlib.suppress(OSError):
                    os.setxattr(writing, attribute, value)
        os.utime(writing, ns=self._times(node))

    def _tree(self, source: int, target: int, destination: str) -> None:
        """The contents of one open directory merged into another."""
        stack = [(source, target, "", self._names(source))]
        try:
            while stack:
                reading, writing, path, names = stack[-1]
                if not names:
                    stack.pop()
                    if stack:
                        self._attributes(reading, writing, os.fstat(reading))
                        os.close(reading)
                        os.close(writing)
                    continue
                name = names.pop()
                inner = f"{path}/{name}" if path else name
                found = os.stat(name, dir_fd=reading, follow_symlinks=False)
                is_directory = stat.S_ISDIR(found.st_mode)
                if self.skip(inner, is_directory):
                    continue
                if not is_directory:
                    self._entry(reading, name, writing, name, found, f"{destination.rstrip('/')}/{inner}")
                    continue
                self._make_directory(writing, name, f"{destination.rstrip('/')}/{inner}")
                opened = os.open(name, _DIRECTORY, dir_fd=reading)
                stack.append((opened, os.open(name, _DIRECTORY, dir_fd=writing), inner, self._names(opened)))
        finally:
            for reading, writing, _, _ in stack[1:]:
                os.close(reading)
                os.close(writing)

    @staticmethod
    def _names(directory: int) -> list[str]:
        with os.scandir(directory) as entries:
            return sorted((entry.name for entry in entries), reverse=True)

    @staticmethod
    def _make_directory(parent: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise SampanError(f"cannot copy to non-directory: {path}") from None

    def _entry(self, source: int, name: str, target: int, last: str, found: os.stat_result, path: str) -> None:
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFSOCK:
            return
        self._make_room(target, last, path)
        if found.st_nlink > 1 and (first := self._links.get((found.st_dev, found.st_ino))) is not None:
            os.link(first[1], last, src_dir_fd=first[0], dst_dir_fd=target, follow_symlinks=False)
            return
        if kind == stat.S_IFREG:
            self._file(source, name, target, last, found)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), last, dir_fd=target)
            os.chown(last, *self._owner(found), dir_fd=target, follow_symlinks=False)
            os.utime(last, ns=self._times(found), dir_fd=target, follow_symlinks=False)
        else:
            os.mknod(last, found.st_mode, found.st_rdev, dir_fd=target)
            os.chown(last, *self._owner(found), dir_fd=target, follow_symlinks=False)
            os.chmod(f"/proc/self/fd/{target}/{last}", self._bits(found))
            os.utime(last, ns=self._times(found), dir_fd=target, follow_symlinks=False)
        if found.st_nlink > 1:
            self._kept.append(os.dup(target))
            self._links[found.st_dev, found.st_ino] = (self._kept[-1], last)

    @staticmethod
    def _make_room(target: int, last: str, path: str) -> None:
        try:
            os.unlink(last, dir_fd=target)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            raise SampanError(f"cannot replace to directory {path} with file") from None

    def _file(self, source: int, name: str, target: int, last: str, found: os.stat_result) -> None:
        reading = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FOLLOW_NOT, dir_fd=source)
        try:
            writing = os.open(last, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NOT, 0o600, dir_fd=target)
            try:
                if found.st_size:
                    copying.copy_data(reading, writing)
                self._attributes(reading, writing, found)
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _attributes(self, reading: int, writing: int, found: os.stat_result) -> None:
        """Owner before mode and capabilities: chown(2) clears set-id bits and file capabilities."""
        os.fchown(writing, *self._owner(found))
        os.fchmod(writing, self._bits(found))
        for attribute in os.listxattr(reading):
            if _allowed(attribute):
                with contextlib.suppress(OSError):
                    os.setxattr(writing, attribute, os.getxattr(reading, attribute))
        os.utime(writing, ns=self._times(found))

    def _bits(self, found: Original) -> int:
        bits = stat.S_IMODE(found.st_mode)
        return bits if self.mode is None else self.mode(bits, stat.S_ISDIR(found.st_mode))

    def _owner(self, found: Original) -> tuple[int, int]:
        return self.owner if self.owner is not None else (found.st_uid, found.st_gid)

    def _times(self, found: Original) -> tuple[int, int]:
        time = found.st_mtime_ns if self.time is None else self.time * 1_000_000_000
        return time, time


def _shown(destination: str, last: str) -> str:
    return destination + last if destination.endswith("/") else destination


def _allowed(attribute: str) -> bool:
    """Extended attributes that go into images."""
    return attribute.startswith(("security.capability", "user.")) and not attribute.startswith("user.overlay.")
