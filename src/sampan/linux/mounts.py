"""Mounts through the new mount API: no mount(8) process, no 4 KiB option limit, every attribute set before anything
is visible.

Everything blocks for as long as the filesystem does (microseconds for overlay, bind, tmpfs). `Mount` is a detached
mount: it belongs to nobody until `attach`, and closing it unattached leaves no trace."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from sampan.linux.libc import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    FSCONFIG,
    FSMOUNT,
    FSOPEN,
    MOUNT_SETATTR,
    MOVE_MOUNT,
    OPEN_TREE,
    failure,
    libc,
    syscall,
)

# include/uapi/linux/mount.h
RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
NOATIME, STRICTATIME, NODIRATIME, NOSYMFOLLOW = 0x10, 0x20, 0x80, 0x200000
_ATIME = 0x70
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_CLOEXEC = 1
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_STRING_LIMIT = 255  # fsconfig(FSCONFIG_SET_STRING) refuses 256 bytes and more

_MS_REC = 0x4000
_PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}

StrPath = str | os.PathLike[str]


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


class Mount:
    """A detached mount, by its file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def attach(self, target: StrPath) -> None:
        """Puts it at `target`, which must exist. `target` may be /proc/self/fd/N: it is followed to the open file."""
        syscall(
            MOVE_MOUNT,
            self.descriptor,
            b"",
            AT_FDCWD,
            os.fsencode(target),
            _MOVE_MOUNT_F_EMPTY_PATH | 0x10,  # T_SYMLINKS: as mount(2) follows
            path=target,
        )

    def attach_to(self, descriptor: int) -> None:
        """Puts it on an open (O_PATH) file or directory: no path to race with."""
        syscall(MOVE_MOUNT, self.descriptor, b"", descriptor, b"", _MOVE_MOUNT_F_EMPTY_PATH | 0x40)

    def set(self, attributes: int, clear: int = 0, *, recursive: bool = False, propagation: str = "") -> None:
        """Sets and clears mount attributes (RDONLY…) and propagation (private, slave, shared, unbindable)."""
        wanted = _MountAttributes(attributes, clear, _PROPAGATION[propagation] if propagation else 0, 0)
        flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
        syscall(MOUNT_SETATTR, self.descriptor, b"", flags, wanted, ctypes.sizeof(wanted))

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Mount:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Options = Mapping[str, str | None] | Sequence[tuple[str, str | None]]


def filesystem(fstype: str, options: Options = (), *, source: str = "", attributes: int = 0) -> Mount:
    """A new filesystem instance, detached. Option value None is a flag. Raises `OSError` with the kernel's own
    explanation."""
    context = syscall(FSOPEN, fstype.encode(), _CLOEXEC)
    try:
        if source:
            _configure(context, "source", source)
        for key, value in options.items() if isinstance(options, Mapping) else options:
            _configure(context, key, value)
        _explained(context, FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return Mount(_explained(context, FSMOUNT, context, _CLOEXEC, attributes))
    finally:
        os.close(context)


def _configure(context: int, key: str, value: str | None) -> None:
    if value is None:
        _explained(context, FSCONFIG, context, _FSCONFIG_SET_FLAG, key.encode(), None, 0)
    else:
        _explained(context, FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)


def _explained(context: int, number: int, *arguments: int | bytes | None) -> int:
    try:
        return syscall(number, *arguments)
    except OSError as error:
        text = ""
        with contextlib.suppress(OSError):  # ENODATA: the filesystem said nothing
            text = os.read(context, 1024).decode(errors="replace").strip().removeprefix("e ")
        if not text:
            raise
        raise OSError(error.errno, f"{error.strerror} ({text})") from None


def mount(fstype: str, target: StrPath, options: Options = (), *, source: str = "", attributes: int = 0) -> None:
    """Mounts a new filesystem (tmpfs, proc, …) at `target`."""
    with filesystem(fstype, options, source=source or fstype, attributes=attributes) as made:
        made.attach(target)


def overlay(
    lower: Sequence[StrPath],
    target: StrPath,
    *,
    upper: StrPath | None = None,
    work: StrPath | None = None,
    options: Mapping[str, str | None] | None = None,
    attributes: int = 0,
) -> None:
    """Mounts an overlayfs. `lower` is topmost first; without `upper` it is read-only and needs two lowers or more.

    The kernel takes at most 500 lowers (OVL_MAX_STACK).
    """
    with ExitStack() as stack:
        if has_lowerdir_plus():
            layers = [("lowerdir+", _short(path, stack)) for path in lower]
            if upper is not None and work is not None:
                layers += [("upperdir", _short(upper, stack)), ("workdir", _short(work, stack))]
            layers += (options or {}).items()  # type: ignore[arg-type]
            with filesystem("overlay", layers, source="overlay", attributes=attributes) as made:
                made.attach(target)
            return
        _overlay_by_mount(lower, target, upper, work, options or {}, attributes, stack)


def _short(path: StrPath, stack: ExitStack) -> str:
    """The path, or a short name for it where the kernel's limit asks for one."""
    name = os.fspath(path)
    return name if len(os.fsencode(name)) <= _STRING_LIMIT else _by_descriptor(name, stack)


def _by_descriptor(path: StrPath, stack: ExitStack) -> str:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}"


def _overlay_by_mount(
    lower: Sequence[StrPath],
    target: StrPath,
    upper: StrPath | None,
    work: StrPath | None,
    options: Mapping[str, str | None],
    attributes: int,
    stack: ExitStack,
) -> None:
    """mount(2) takes one page of options. Every directory is named by its descriptor: about 18 bytes a layer whatever
    its path, so 200 layers fit, and no colon or comma of a path needs escaping."""
    parts = ["lowerdir=" + ":".join(_by_descriptor(path, stack) for path in lower)]
    if upper is not None and work is not None:
        parts += [f"upperdir={_by_descriptor(upper, stack)}", f"workdir={_by_descriptor(work, stack)}"]
    parts += [key if value is None else f"{key}={value}" for key, value in options.items()]
    data = ",".join(parts).encode()
    if len(data) >= os.sysconf("SC_PAGE_SIZE"):
        raise OSError(
            errno.E2BIG, f"too many layers ({len(lower)}) for mount(2) on a kernel older than 6.8", os.fspath(target)
        )
    # MS_RDONLY, MS_NOSUID, MS_NODEV and MS_NOEXEC have the same values as the MOUNT_ATTR_ ones.
    _mount(b"overlay", target, b"overlay", attributes & 0xF, data)


def _mount(source: bytes, target: StrPath, fstype: bytes | None, flags: int, data: bytes | None) -> None:
    if libc.mount(source, os.fsencode(target), fstype, ctypes.c_ulong(flags), data):
        raise failure(target)


@functools.cache
def has_lowerdir_plus() -> bool:
    """Linux 6.8 takes overlay layers one by one. Older ones swallow any key (before 6.5) or do not know this one;
    only those that know it look the path up at once."""
    try:
        context = syscall(FSOPEN, b"overlay", _CLOEXEC)
    except OSError:
        return False
    try:
        syscall(FSCONFIG, context, _FSCONFIG_SET_STRING, b"lowerdir+", b"/proc/self/no-such-directory", 0)
    except OSError as error:
        return error.errno == errno.ENOENT
    finally:
        os.close(context)
    return False


def clone(source: StrPath | int, *, recursive: bool = True) -> Mount:
    """A detached copy of the mount tree at a path, or at an open O_PATH descriptor (no path to race with): a bind
    mount to be."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    if isinstance(source, int):
        return Mount(syscall(OPEN_TREE, source, b"", flags | AT_EMPTY_PATH))
    return Mount(syscall(OPEN_TREE, AT_FDCWD, os.fsencode(source), flags, path=source))


def bind(
    source: StrPath | int,
    target: StrPath,
    *,
    recursive: bool = True,
    attributes: int = 0,
    propagation: str = "",
) -> None:
    """Bind-mounts a file or directory; attributes (RDONLY…) hold for the whole tree when recursive."""
    with clone(source, recursive=recursive) as tree:
        if attributes or propagation:
            tree.set(attributes, recursive=recursive, propagation=propagation)
        tree.attach(target)


def set_propagation(target: StrPath, propagation: str, *, recursive: bool = False) -> None:
    """private, slave, shared or unbindable."""
    _mount(b"none", target, None, _PROPAGATION[propagation] | (_MS_REC if recursive else 0), None)


def remount(target: StrPath, attributes: int, clear: int = 0, *, recursive: bool = False) -> None:
    """Changes the attributes of the mount at `target`."""
    wanted = _MountAttributes(attributes, clear, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    syscall(MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, wanted, ctypes.sizeof(wanted), path=target)


def unmount(target: StrPath, *, detach: bool = False, follow: bool = False) -> bool:
    """Takes away the topmost mount at `target`; False when nothing is mounted there (or no such path).

    `detach` leaves busy files to their users (MNT_DETACH). Symlinks are not followed unless asked for: the path may lie
    where a container can write.
    """
    flags = (_MNT_DETACH if detach else 0) | (0 if follow else _UMOUNT_NOFOLLOW)
    if libc.umount2(os.fsencode(target), flags) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOENT):
        return False
    raise failure(target)


def is_mounted(target: StrPath) -> bool:
    """Is `target` itself the root of a mount? (statx's STATX_ATTR_MOUNT_ROOT, Linux 5.8: no scan of mountinfo)"""
    buffer = ctypes.create_string_buffer(256)
    if libc.statx(AT_FDCWD, os.fsencode(target), AT_SYMLINK_NOFOLLOW, 0, buffer):
        if ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise failure(target)
    attributes = int.from_bytes(buffer.raw[8:16], "little")
    return bool(attributes & 0x2000)


def is_mount_root(descriptor: int) -> bool:
    """`is_mounted`, of an open (O_PATH) file."""
    buffer = ctypes.create_string_buffer(256)
    if libc.statx(descriptor, b"", AT_EMPTY_PATH, 0, buffer):
        raise failure()
    return bool(int.from_bytes(buffer.raw[8:16], "little") & 0x2000)


def filesystem_type(descriptor: int) -> int:
    """The magic number (include/uapi/linux/magic.h) of the filesystem an open (O_PATH) file is on."""
    buffer = ctypes.create_string_buffer(256)
    if libc.fstatfs(descriptor, buffer):
        raise failure()
    size = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(buffer.raw[:size], sys.byteorder) & 0xFFFFFFFF


class MountInfo:
    """One line of /proc/PID/mountinfo (proc(5))."""

    __slots__ = (
        "device",
        "fstype",
        "id",
        "mount_point",
        "options",
        "parent",
        "root",
        "source",
        "super_options",
        "tags",
    )

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        self.id, self.parent = int(head[0]), int(head[1])
        self.device = head[2]
        self.root, self.mount_point = _unescape(head[3]), _unescape(head[4])
        self.options = head[5].split(",")
        self.tags = head[6:]
        """Propagation: shared:N, master:N, unbindable."""
        self.fstype, self.source = tail[0], _unescape(tail[1])
        self.super_options = tail[2].split(",") if len(tail) > 2 else []


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def mountinfo(pid: int | str = "self") -> Iterator[MountInfo]:
    """The mounts a process sees, in mount order."""
    with Path(f"/proc/{pid}/mountinfo").open(errors="surrogateescape") as table:
        for line in table:
            yield MountInfo(line.rstrip("\n"))


def unmount_below(directory: StrPath, *, detach: bool = False) -> list[str]:
    """Unmounts everything at or below `directory` (last mounted first) and returns what it unmounted: for
    reconciling."""
    prefix = os.fspath(directory).rstrip("/")
    found = [m.mount_point for m in mountinfo() if m.mount_point == prefix or m.mount_point.startswith(prefix + "/")]
    return [point for point in reversed(found) if unmount(point, detach=detach)]


def touch_target(target: StrPath, source: StrPath) -> None:
    """Makes an empty mount point of the kind `source` is (a directory or a file), with its parents."""
    path = Path(target)
    if Path(source).is_dir():
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=True)
