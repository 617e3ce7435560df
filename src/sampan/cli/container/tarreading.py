"""A container's archive unpacked below a local directory: `cp` out of a container, `build --output type=local`.

The archive comes from inside a container and is not trusted: every path is walked from the directory's descriptor
without following links, so neither `..` nor a symlink that the archive planted leads outside (CVE-2018-15664's kind).
"""

from __future__ import annotations

import os
import stat
import tarfile

from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Source(Protocol):
        def read(self, size: int, /) -> bytes: ...


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(source: Source, directory: str, rename: Callable[[str], str], devices: bool = True) -> None:
    """Unpack the tar stream `source` into `directory`; `rename` gives each entry's (and hard link's) local name.
    Without `devices`, device nodes are left out: they need root."""
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with tarfile.open(
            fileobj=source,  # type: ignore[call-overload]
            mode="r|",
            bufsize=1 << 18,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            unpacker = _Unpacker(root, directory, rename)
            for member in archive:
                if devices or not (member.ischr() or member.isblk()):
                    unpacker.take(archive, member)
            unpacker.finish()
    except tarfile.TarError as error:
        raise CliError(f"cannot read the archive: {error}") from None
    finally:
        os.close(root)


class _Unpacker:
    def __init__(self, root: int, directory: str, rename: Callable[[str], str]) -> None:
        self._root = root
        self._directory = directory
        self._rename = rename
        self._times: list[tuple[list[str], float]] = []

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _parts(self._rename(member.name))
        if not parts:  # the directory itself
            return
        parent = self._parent(parts)
        try:
            self._place(archive, member, parent, parts)
        finally:
            os.close(parent)

    def finish(self) -> None:
        """Directory times, once nothing more is put into them."""
        for parts, mtime in reversed(self._times):
            parent = self._parent(parts)
            try:
                os.utime(parts[-1], (mtime, mtime), dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)

    def _parent(self, parts: list[str]) -> int:
        """A descriptor of the directory that holds the entry; missing ones are made."""
        current = os.dup(self._root)
        for part in parts[:-1]:
            try:
                try:
                    below = os.open(part, _DIRECTORY, dir_fd=current)
                except FileNotFoundError:
                    os.mkdir(part, 0o755, dir_fd=current)
                    below = os.open(part, _DIRECTORY, dir_fd=current)
            finally:
                os.close(current)
            current = below
        return current

    def _place(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, parts: list[str]) -> None:
        name = parts[-1]
        path = os.path.join(self._directory, *parts)
        self._make_room(member, parent, name, path)
        mode = member.mode & 0o7777
        if member.isdir():
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                pass
            self._times.append((parts, member.mtime))
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
            os.utime(name, (member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)
            return
        elif member.islnk():
            self._link(member, parent, name)
            return
        elif member.isreg():
            self._write(archive, member, parent, name)
            return
        elif member.isfifo():
            os.mkfifo(name, mode, dir_fd=parent)
        elif member.isdev():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(name, kind | mode, os.makedev(member.devmajor, member.devminor), dir_fd=parent)
        else:
            raise CliError(f"unhandled tar header type {member.type!r} of {member.name}")
        _set_mode(parent, name, mode)

    def _make_room(self, member: tarfile.TarInfo, parent: int, name: str, path: str) -> None:
        try:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(there.st_mode):
            if not member.isdir():
                raise CliError(f'cannot overwrite directory "{path}" with non-directory "{self._directory}"')
        elif member.isdir():
            raise CliError(f'cannot overwrite non-directory "{path}" with directory "{self._directory}"')
        else:
            os.unlink(name, dir_fd=parent)

    def _link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        target = _parts(self._rename(member.linkname))
        if not target:
            raise CliError(f"invalid hardlink {member.name} -> {member.linkname}")
        holder = self._parent(target)
        try:
            os.link(target[-1], name, src_dir_fd=holder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(holder)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        source = archive.extractfile(member)
        assert source is not None
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            while data := source.read(1 << 18):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            os.fchmod(fd, member.mode & 0o7777)
            capability = member.pax_headers.get("SCHILY.xattr.security.capability")
            if capability:
                try:
                    os.setxattr(fd, "security.capability", capability.encode("utf-8", "surrogateescape"))
                except OSError:
                    pass  # not root, or a filesystem without them: the file itself is copied
            os.utime(fd, (member.mtime, member.mtime))
        finally:
            os.close(fd)


def _set_mode(parent: int, name: str, mode: int) -> None:
    """chmod without following a link that took the name's place; Linux has no flag for it before 6.6."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def _parts(name: str) -> list[str]:
    """The components of an entry's name; `CliError` for one that leads outside."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise CliError(f'"{name}" is outside of the destination: the archive is refused')
    return parts


class Joined:
    """Pieces of bytes as a file to read from, counting what went through."""

    def __init__(self, pieces: Iterable[bytes], counted: Callable[[int], None]) -> None:
        self._pieces = iter(pieces)
        self._counted = counted
        self._kept = b""

    def read(self, size: int = -1) -> bytes:
        parts = [self._kept]
        have = len(self._kept)
        while size < 0 or have < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._counted(len(piece))
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        if size < 0:
            size = len(data)
        data, self._kept = data[:size], data[size:]
        return data
