"""A client's directory, over the session: fsutil's protocol from the receiver's side, into a context's index.

The client tells every file in order (STAT), is asked for the contents (REQ, by a file's place in that order), sends
them in pieces that may interleave (DATA, an empty one at the end of each), and both say FIN.

Source: tonistiigi/fsutil send.go, receive.go, stat.go; BuildKit session/filesync (metadata).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote_plus

from grpclib.client import StreamStreamMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError
from multidict import MultiDict

from sampan.buildkit.earlier import Content, Earlier, Told
from sampan.buildkit.sessions import Session
from sampan.buildkit.wire_pb2 import Packet, Stat
from sampan.builds.indexing import Index, Node
from sampan.errors import SampanError

_METHOD = "/moby.filesync.v1.FileSync/DiffCopy"
_GO_KINDS = (
    (1 << 31, stat.S_IFDIR),
    (1 << 27, stat.S_IFLNK),
    (1 << 26, stat.S_IFBLK),
    (1 << 25, stat.S_IFIFO),
    (1 << 24, stat.S_IFSOCK),
)
_EMPTY = hashlib.sha256().digest()
_LARGEST = 1 << 43
"""Bytes of all files together as they are told, before any has come: half of what a file of ext4's can have."""
_MOST = 1 << 22
"""Files. Each costs about a KiB of memory."""
_DEVICE = 1 << 20
_GO_CHARACTER = 1 << 21
_GO_BITS = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))
"""Go's io/fs.FileMode, which is what travels."""


class NothingShared(SampanError):
    """The client does not share this directory."""


def unix_mode(mode: int) -> int:
    """stat(2)'s of a Go FileMode."""
    kind = next((kind for bit, kind in _GO_KINDS if mode & bit), stat.S_IFREG)
    if kind == stat.S_IFBLK and mode & _GO_CHARACTER:
        kind = stat.S_IFCHR
    return kind | (mode & 0o777) | sum(ours for go, ours in _GO_BITS if mode & go)


def go_mode(mode: int) -> int:
    """A Go FileMode of stat(2)'s."""
    found = mode & 0o777
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFCHR:
        found |= 1 << 26 | _GO_CHARACTER
    found |= next((go for go, ours in _GO_KINDS if ours == kind), 0)
    return found | sum(go for go, ours in _GO_BITS if mode & ours)


async def receive(
    session: Session,
    name: str,
    index: Index,
    *,
    only: Iterable[str] = (),
    without: Iterable[str] = (),
    earlier: Earlier | None = None,
    tell: Callable[[int], None] = lambda size: None,
) -> None:
    """The directory that the client shares as `name`, but for what matches the patterns `without`, or only the paths
    `only` with what links lead to. `tell` hears the bytes received so far. Raises `NothingShared`, `SampanError`.

    `earlier`: what is as it was in the last context of this client and name does not travel again.
    """
    if not session.serves(_METHOD):
        raise NothingShared("no local sources enabled")
    call = StreamStreamMethod(session.channel, _METHOD, Packet, Packet)
    key = (session.shared_key, name)
    before = earlier.take(key) if earlier is not None else None
    if before is not None:
        index.continue_on(before.data, before.end)
    receiver = _Receiver(index, before.files if before is not None else {}, tell)
    metadata = _metadata({"dir-name": [name], "exclude-patterns": list(without), "followpaths": list(only)})
    try:
        async with call.open(metadata=metadata) as stream:
            await stream.send_request()
            await receiver.run(stream)
    except GRPCError as error:
        if "no access allowed to dir" in (error.message or ""):
            raise NothingShared(error.message or "") from None
        raise SampanError(f"failed to read {name} from the client: {error.message}") from None
    except (StreamTerminatedError, ConnectionError):
        raise SampanError(f"the client went away while it sent {name}") from None
    if earlier is not None:
        earlier.keep(key, index, receiver.contents)


def _metadata(values: dict[str, list[str]]) -> MultiDict[Any]:
    found: MultiDict[Any] = MultiDict()
    for key, texts in values.items():
        encoded = any(not text.isascii() or not text.isprintable() for text in texts)
        for text in texts:
            found.add(key, quote_plus(text) if encoded else text)
        if encoded:
            found[f"{key}-encoded"] = "1"
    return found


def _checked(told: Stat) -> str:
    """The path, normal and inside. Raises `SampanError`."""
    name = posixpath.normpath(told.path).lstrip("/")
    if name in ("", ".", "..") or name.startswith("../") or "\0" in name:
        raise SampanError(f'"{told.path}" is outside of the build context')
    if "\0" in told.linkname:
        raise SampanError(f"{name} links to a name with NUL in it")
    if not (0 <= told.devmajor < _DEVICE and 0 <= told.devminor < _DEVICE):
        raise SampanError(f"{name} is a device that there is not: {told.devmajor}:{told.devminor}")
    return name


class _File:
    """One that is being received."""

    def __init__(self, node: Node, name: str, told: Told) -> None:
        self.node, self.name, self.told = node, name, told
        self.position = node.offset
        self.digest = hashlib.sha256()


class _Receiver:
    def __init__(self, index: Index, before: Mapping[str, Content], tell: Callable[[int], None]) -> None:
        self._index = index
        self._before = before
        self.contents: dict[str, Content] = {}
        self._tell = tell
        self._wanted: asyncio.Queue[int] = asyncio.Queue()
        self._files: dict[int, _File] = {}
        self._count = 0
        self._told = False
        self._received = 0

    async def run(self, stream: Any) -> None:
        asking = asyncio.ensure_future(self._ask(stream))
        try:
            while not self._told or self._files:
                packet = await stream.recv_message()
                if packet is None:
                    raise SampanError("the client stopped in the middle of its files")
                self._take(packet)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        # With our end closed: else Go's server resets the stream when it is done, which grpclib takes for a failure.
        await stream.send_message(Packet(type=Packet.FIN), end=True)
        while (packet := await stream.recv_message()) is not None and packet.type != Packet.FIN:
            if packet.type == Packet.ERR:
                raise SampanError(f"error from sender: {packet.data.decode(errors='replace')}")

    async def _ask(self, stream: Any) -> None:
        """Beside the receiving: a client that waits for room to send must not wait for us to hear it."""
        while True:
            await stream.send_message(Packet(type=Packet.REQ, id=await self._wanted.get()))

    def _take(self, packet: Packet) -> None:
        if packet.type == Packet.STAT:
            if packet.HasField("stat"):
                self._file(packet.stat)
            else:
                self._told = True
        elif packet.type == Packet.DATA:
            self._data(packet.id, packet.data)
        elif packet.type == Packet.ERR:
            raise SampanError(f"error from sender: {packet.data.decode(errors='replace')}")

    def _file(self, told: Stat) -> None:
        if self._told:
            raise SampanError("the client told of a file after the last one")
        number, self._count = self._count, self._count + 1
        name = _checked(told)
        if self._count > _MOST:
            raise SampanError(f"the build context has more than {_MOST} files")
        node = Node(unix_mode(told.mode), told.uid, told.gid, told.mod_time)
        kind = stat.S_IFMT(node.st_mode)
        if kind == stat.S_IFREG and told.linkname:
            self._index.put(name, self._linked(told))
            return
        if kind == stat.S_IFSOCK:
            return  # belongs to a process
        node.xattrs = dict(told.xattrs) or None
        if kind == stat.S_IFLNK:
            node.link = told.linkname
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            node.device = os.makedev(told.devmajor, told.devminor)
        elif kind == stat.S_IFREG:
            self._regular(number, name, node, (max(told.size, 0), told.mod_time, told.mode))
        self._index.put(name, node)

    def _regular(self, number: int, name: str, node: Node, told: Told) -> None:
        known = self._before.get(name)
        if known is not None and known.told == told:
            node.offset, node.size, node.content = known.offset, told[0], known.digest
            self.contents[name] = known
        elif not told[0]:
            node.content = _EMPTY
        else:
            if self._index.end + told[0] > _LARGEST:
                raise SampanError(f"{name}: the build context is larger than {_LARGEST} bytes")
            self._index.reserve(node, told[0])
            self._files[number] = _File(node, name, told)
            self._wanted.put_nowait(number)

    def _linked(self, told: Stat) -> Node:
        target = self._index.find(posixpath.normpath("/" + told.linkname), follow=False)
        if target is None or target.is_directory:
            raise SampanError(f"link {told.path}: {told.linkname} is not in the build context")
        target.links += 1
        return target

    def _data(self, number: int, data: bytes) -> None:
        file = self._files.get(number)
        if file is None:
            raise SampanError(f"data for a file that was not asked for ({number})")
        node = file.node
        if not data:
            del self._files[number]
            node.size = file.position - node.offset  # it may have shrunk since it was told
            node.content = file.digest.digest()
            if node.size == file.told[0]:
                self.contents[file.name] = Content(file.told, node.offset, node.content)
            return
        if file.position + len(data) > node.offset + node.size:
            raise SampanError(f"{file.name} grew while it was being sent")
        file.digest.update(data)
        file.position = self._index.write(memoryview(data), file.position)
        self._received += len(data)
        self._tell(self._received)
