"""Applying a layer: a tar stream becomes a directory that overlayfs can stack, and nothing outside it is ever touched.

Every path of the archive is resolved by the kernel relative to the target (openat2 with RESOLVE_IN_ROOT), as if the
target were "/": `..`, absolute names and symlinks planted by earlier entries all stay inside. The last component is
never followed.

What differs from plain extraction (image-spec layer.md):

- `.wh.NAME` becomes a 0/0 character device NAME, `.wh..wh..opq` the xattr trusted.overlay.opaque on its directory:
  overlayfs' own marks.
- A later entry replaces an earlier one of the same name; a directory over a directory keeps what is in it.
- Times of directories are set last, set-id bits after the owner (chown clears them).

Speed is the point of the shape of this module: a 10,000-file layer must not take longer than GNU tar needs. Parents
are opened once and cached, most files cost open, write, utime, close and nothing else.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sampan.errors import InvalidParameter
from sampan.images.compression import Ahead, decompress
from sampan.images.content import DiskFull
from sampan.images.parents import Parents
from sampan.images.tar import headers
from sampan.images.tar.headers import Entry
from sampan.images.tar.reader import TarReader
from sampan.linux import openat2, trees
from sampan.linux.libc import libc

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"
_OVERLAY_XATTRS = "trusted.overlay."
_CHECK_EVERY = 64 << 20
_RESERVE, _RESERVED_INODES = 64 << 20, 4096
"""Bytes and inodes of the disk (of a small one, a twentieth) that no layer may take: a bomb ends here, with the daemon
still able to write its state."""
_INODES_EVERY = 128
_CLONE_FS = 0x200
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class BadLayer(InvalidParameter):
    """A layer that cannot be applied. The message names the entry."""


@dataclass(frozen=True, slots=True)
class Applied:
    diff_id: str
    size: int
    """Bytes of the files, hard links once, as `docker images` counts."""
    entries: int


def own_umask() -> None:
    """Gives the calling thread its own umask (0), so that files are created with their final mode: no chmod for each.

    umask belongs to the process; unshare(CLONE_FS) splits it off for one thread (unshare(2)).
    """
    if libc.unshare(_CLONE_FS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare(CLONE_FS)")
    os.umask(0)


def apply(chunks: Iterable[bytes], target: Path, *, diff_id: Callable[[], str] | None = None) -> Applied:
    """Applies a layer, compressed or not, to an empty directory. Blocks; run it in a thread that `own_umask` was
    called in. `diff_id`: these bytes are not compressed and are hashed elsewhere; it is asked at the end.

    Raises `BadArchive`, `BadLayer`, `InvalidParameter` (damaged compression), `DiskFull`. What was
    written stays: the caller owns `target` and drops it.
    """
    digest = hashlib.sha256()
    source = iter(chunks) if diff_id else _hashed(decompress(chunks), digest)
    with Ahead(source) as plain, _Applier(target) as applier:
        reader = TarReader(plain)
        for entry in reader:
            applier.add(entry, reader)
        reader.drain()
        applier.finish()
        found = diff_id() if diff_id else f"sha256:{digest.hexdigest()}"
        return Applied(found, applier.size, applier.entries)


def _hashed(chunks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def clean_name(name: bytes) -> bytes:
    """A path without leading slash, `.` and `//`; `..` is resolved lexically, as Docker does. b"" is the root itself.

    Raises `BadLayer` for a name that begins outside.
    """
    if name.startswith(b"./"):  # as `tar -C DIR .` writes them all
        name = name[2:]
    if not (b"/." in name or b"//" in name or name[:1] in (b".", b"/")):
        return name[:-1] if name.endswith(b"/") else name
    parts: list[bytes] = []
    absolute = name.startswith(b"/")
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if parts:
                parts.pop()
            elif not absolute:
                raise BadLayer(f"invalid layer: entry {name.decode(errors='replace')!r} is outside of the root")
            continue
        parts.append(part)
    return b"/".join(parts)


class _Applier:
    """The state of one application. Not thread-safe."""

    def __init__(self, target: Path) -> None:
        self._root = openat2.open_root(target)
        self._parents = Parents(self._root, self._replace)
        self._directories: dict[bytes, Entry] = {}
        self._whiteouts: set[bytes] = set()
        self.size = self.entries = 0
        self._unchecked = 0
        self._check_space(0)

    def __enter__(self) -> _Applier:
        return self

    def __exit__(self, *exception: object) -> None:
        self._parents.forget()
        os.close(self._root)

    # -- one entry ---------------------------------------------------------------------------------
    def add(self, entry: Entry, reader: TarReader) -> None:
        name = clean_name(entry.name)
        if not self.entries % _INODES_EVERY:
            self._check_inodes()
        self.entries += 1
        head, _, base = name.rpartition(b"/")
        try:
            if not base:
                self._directories[b""] = entry
            elif base.startswith(WHITEOUT):
                self._whiteout(name, head, base, entry)
            else:
                self._make(name, head, base, entry, reader)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"the layer does not fit (at entry {entry.shown!r})") from None
            raise BadLayer(f"failed to apply layer: entry {entry.shown!r}: {error.strerror}") from None
        except (OverflowError, ValueError) as error:  # an owner, time or device number beyond what the kernel takes
            raise BadLayer(f"invalid layer: entry {entry.shown!r}: {error}") from None

    def _make(self, name: bytes, head: bytes, base: bytes, entry: Entry, reader: TarReader) -> None:
        parent = self._parents.get(head)
        kind = entry.type
        if kind == headers.FILE:
            self._file(name, parent, base, entry, reader)
        elif kind == headers.DIRECTORY:
            self._directory(name, parent, base, entry)
        elif kind == headers.SYMLINK:
            self._fresh(name, parent, base, lambda: os.symlink(entry.link, base, dir_fd=parent))
            self.size += len(entry.link)
            self._settle(parent, base, entry, link=True)
        elif kind == headers.LINK:
            self._hard_link(name, parent, base, entry)
        elif kind in (headers.CHARACTER, headers.BLOCKDEV, headers.FIFO):
            self._node(name, parent, base, entry)
        else:
            raise BadLayer(f"invalid layer: entry {entry.shown!r} has the unsupported type {kind!r}")

    def _file(self, name: bytes, parent: int, base: bytes, entry: Entry, reader: TarReader) -> None:
        mode = entry.mode
        try:
            descriptor = os.open(base, _NEW_FILE, mode, dir_fd=parent)
        except FileExistsError:
            self._replace(name, parent, base)
            descriptor = os.open(base, _NEW_FILE, mode, dir_fd=parent)
        try:
            if entry.sparse is not None:
                self._write_sparse(descriptor, entry, reader)
            elif entry.size:
                self._write(descriptor, entry, reader)
            uid, gid = entry.uid, entry.gid
            if uid or gid:
                os.fchown(descriptor, uid, gid)
                if mode & 0o6000:
                    os.fchmod(descriptor, mode)
            if entry.xattrs:
                self._set_xattrs(descriptor, entry)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)
        self.size += entry.real_size

    def _write(self, descriptor: int, entry: Entry, reader: TarReader) -> None:
        self._unchecked += entry.size
        if self._unchecked > _CHECK_EVERY:
            self._check_space(entry.size)
        piece = reader.small()
        if piece is not None:
            written = os.write(descriptor, piece)
            while written < len(piece):
                written += os.write(descriptor, piece[written:])
            return
        for piece in reader.data():
            while piece:
                piece = piece[os.write(descriptor, piece) :]

    def _write_sparse(self, descriptor: int, entry: Entry, reader: TarReader) -> None:
        self._check_space(entry.size)
        pieces = iter(entry.sparse or ())
        offset = left = 0
        for data in reader.data():
            while data:
                if not left:
                    offset, left = next(pieces)
                written = os.pwrite(descriptor, data[:left], offset)
                offset, left, data = offset + written, left - written, data[written:]
        os.ftruncate(descriptor, entry.real_size)

    def _directory(self, name: bytes, parent: int, base: bytes, entry: Entry) -> None:
        """Set-id bits and xattrs come last: a set-gid directory or a default ACL would leak into what is made
        inside.
        """
        try:
            os.mkdir(base, entry.mode & 0o1777, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
                whited = name in self._whiteouts
                self._replace(name, parent, base)
                os.mkdir(base, entry.mode & 0o1777, dir_fd=parent)
                if whited:  # removed below and made anew here: what lies below must not shine through
                    os.setxattr(_by_name(parent, base), OPAQUE_XATTR, b"y", follow_symlinks=False)
        self._directories[name] = entry

    def _hard_link(self, name: bytes, parent: int, base: bytes, entry: Entry) -> None:
        source = clean_name(entry.link)
        if source == name:
            return
        head, _, last = source.rpartition(b"/")
        if not last:
            raise BadLayer(f"invalid layer: hard link {entry.shown!r} to the root")
        try:
            origin = openat2.open_in_root(self._root, head, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise self._bad_link(entry, error) from None
        try:

            def link() -> None:
                os.link(last, base, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)

            try:
                os.stat(last, dir_fd=origin, follow_symlinks=False)
                self._fresh(name, parent, base, link)
            except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
                raise self._bad_link(entry, error) from None
        finally:
            os.close(origin)

    @staticmethod
    def _bad_link(entry: Entry, error: OSError) -> BadLayer:
        target = entry.link.decode(errors="replace")
        return BadLayer(f"invalid layer: hard link {entry.shown!r} -> {target!r}: {error.strerror}")

    def _node(self, name: bytes, parent: int, base: bytes, entry: Entry) -> None:
        kinds = {headers.CHARACTER: stat.S_IFCHR, headers.BLOCKDEV: stat.S_IFBLK, headers.FIFO: stat.S_IFIFO}
        mode = entry.mode | kinds[entry.type]
        device = os.makedev(entry.major, entry.minor) if entry.type != headers.FIFO else 0
        self._fresh(name, parent, base, lambda: os.mknod(base, mode, device, dir_fd=parent))
        self._settle(parent, base, entry)

    def _settle(self, parent: int, base: bytes, entry: Entry, *, link: bool = False) -> None:
        """Owner, mode, xattrs and times of what cannot be opened for writing."""
        if entry.uid or entry.gid:
            os.chown(base, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            if not link and entry.mode & 0o6000:
                os.chmod(_by_name(parent, base), entry.mode)  # noqa: PTH101 (a node: chmod follows no symlink here)
        if entry.xattrs:
            self._set_xattrs(_by_name(parent, base), entry)
        os.utime(base, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, target: int | bytes, entry: Entry) -> None:
        for key, value in (entry.xattrs or {}).items():
            if key.startswith(_OVERLAY_XATTRS):
                continue  # an image may not write overlayfs' own marks (redirects, metacopy)
            try:
                if isinstance(target, int):
                    os.setxattr(target, key, value)
                else:
                    os.setxattr(target, key, value, follow_symlinks=False)
            except OSError as error:
                # As Docker: a filesystem without this namespace, or user.* on a special file, is no reason to fail.
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise

    # -- whiteouts ---------------------------------------------------------------------------------
    def _whiteout(self, name: bytes, head: bytes, base: bytes, entry: Entry) -> None:
        if base == OPAQUE:
            parent = self._parents.get(head)
            os.setxattr(f"/proc/self/fd/{parent}", OPAQUE_XATTR, b"y")
            return
        if base.startswith(b".wh..wh."):
            return  # aufs' own bookkeeping (plnk, aufs): image-spec says to ignore it
        hidden = base[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise BadLayer(f"invalid layer: whiteout {entry.shown!r} names no file")
        parent = self._parents.get(head)
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            # It hides what lies below only, not what this layer itself brings (image-spec layer.md, "Whiteouts").
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent, follow_symlinks=False).st_mode):
                os.setxattr(_by_name(parent, hidden), OPAQUE_XATTR, b"y", follow_symlinks=False)
            return
        self._whiteouts.add(head + b"/" + hidden if head else hidden)

    def _fresh(self, name: bytes, parent: int, base: bytes, make: object) -> None:
        """Runs `make`, which creates `base`; when something is there already, that goes first."""
        assert callable(make)
        try:
            make()
        except FileExistsError:
            self._replace(name, parent, base)
            make()

    def _replace(self, name: bytes, parent: int, base: bytes) -> None:
        """Removes what an earlier entry made under this name."""
        self._whiteouts.discard(name)
        found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            if found.st_nlink == 1:
                self.size -= found.st_size if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) else 0
            os.unlink(base, dir_fd=parent)
            if stat.S_ISLNK(found.st_mode):
                self._parents.forget(keep=parent)  # cached directories may have been reached through it
            return
        self.size -= trees.size_at(parent, base)
        trees.remove_at(parent, base)
        prefix = name + b"/"
        for gone in [path for path in self._directories if path == name or path.startswith(prefix)]:
            del self._directories[gone]
        self._whiteouts = {path for path in self._whiteouts if not path.startswith(prefix)}
        self._parents.forget(keep=parent)

    # -- the end -----------------------------------------------------------------------------------
    def finish(self) -> None:
        """Owners, modes, xattrs and times of directories, deepest first: nothing is made inside them any more."""
        for name, entry in sorted(self._directories.items(), key=lambda item: item[0], reverse=True):
            try:
                descriptor = openat2.open_in_root(self._root, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # replaced by a later entry
                raise
            try:
                if entry.uid or entry.gid:
                    os.fchown(descriptor, entry.uid, entry.gid)
                if entry.mode & 0o6000 or not name or entry.uid or entry.gid:
                    os.fchmod(descriptor, entry.mode)
                else:
                    self._fix_mode(descriptor, entry.mode)
                if entry.xattrs:
                    self._set_xattrs(descriptor, entry)
                os.utime(descriptor, ns=(entry.mtime, entry.mtime))
            except OSError as error:
                raise BadLayer(f"failed to apply layer: entry {entry.shown!r}: {error.strerror}") from None
            except (OverflowError, ValueError) as error:
                raise BadLayer(f"invalid layer: entry {entry.shown!r}: {error}") from None
            finally:
                os.close(descriptor)

    @staticmethod
    def _fix_mode(descriptor: int, mode: int) -> None:
        """A second entry for a directory changes its mode, and a caller without `own_umask` has a umask."""
        if os.fstat(descriptor).st_mode & 0o7777 != mode:
            os.fchmod(descriptor, mode)

    def _check_inodes(self) -> None:
        """Millions of empty files take no bytes that anybody counts."""
        found = os.fstatvfs(self._root)
        if found.f_files and found.f_favail < min(_RESERVED_INODES, found.f_files // 20):
            raise DiskFull("the layer needs more files than there are free inodes")

    def _check_space(self, coming: int) -> None:
        found = os.fstatvfs(self._root)
        free = found.f_bavail * found.f_frsize
        if free < coming + min(_RESERVE, found.f_blocks * found.f_frsize // 20):
            raise DiskFull(f"the layer needs more than the {free >> 20} MiB that are free")
        self._unchecked = 0


def _by_name(parent: int, base: bytes) -> bytes:
    """A path for calls that have no dir_fd (xattrs, chmod)."""
    return b"/proc/self/fd/%d/%s" % (parent, base)
