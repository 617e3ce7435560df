"""Results for a client, over its session: an archive as one stream, or a directory by fsutil's protocol.

Source: BuildKit session/filesync (FileSend, metadata); tonistiigi/fsutil send.go.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import AsyncIterator, Iterator
from typing import Any

from grpclib.client import StreamStreamMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from sampan.buildkit.receiving import go_mode
from sampan.buildkit.sessions import Session
from sampan.buildkit.wire_pb2 import Bytes, Packet, Stat
from sampan.builds.indexing import Index, Node
from sampan.errors import SampanError

_METHOD = "/moby.filesync.v1.FileSend/DiffCopy"
_PIECE = 1 << 20
_DATA = 32 << 10


def _checked(session: Session) -> None:
    if not session.serves(_METHOD):
        raise SampanError(f"method {_METHOD} not supported by the client")


async def send_archive(session: Session, output: int, archive: AsyncIterator[bytes]) -> None:
    """As the client's output number `output`."""
    _checked(session)
    call = StreamStreamMethod(session.channel, _METHOD, Bytes, Bytes)
    try:
        async with call.open(metadata={"buildkit-attachable-exporter-id": str(output)}) as stream:
            await stream.send_request()
            async for chunk in archive:
                for start in range(0, len(chunk), _PIECE):
                    await stream.send_message(Bytes(data=chunk[start : start + _PIECE]))
            await stream.end()
            while await stream.recv_message() is not None:
                pass
    except GRPCError as error:
        raise SampanError(f"failed to send the result to the client: {error.message}") from None
    except (StreamTerminatedError, ConnectionError):
        raise SampanError("the client went away while it was sent the result") from None


async def send_directory(session: Session, output: int, index: Index) -> None:
    """All of `index` into the client's directory for output number `output`."""
    _checked(session)
    call = StreamStreamMethod(session.channel, _METHOD, Packet, Packet)
    try:
        async with call.open(metadata={"buildkit-attachable-exporter-id": str(output)}) as stream:
            await stream.send_request()
            await Sender(index).run(stream)
            await stream.send_message(Packet(type=Packet.FIN), end=True)
            while await stream.recv_message() is not None:
                pass
    except GRPCError as error:
        raise SampanError(f"failed to send the files to the client: {error.message}") from None
    except (StreamTerminatedError, ConnectionError):
        raise SampanError("the client went away while it was sent the files") from None


class Sender:
    """fsutil's protocol from the sender's side, up to the receiver's FIN: whoever runs it answers that."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._nodes: list[Node] = []

    async def run(self, stream: Any) -> None:
        """All names first: the client takes them without being asked, and asks for contents meanwhile. What it asks
        waits in the stream, whose window its requests (a few bytes each) do not fill."""
        links: dict[int, str] = {}
        for name, node in _walk(self._index.root):
            self._nodes.append(node)
            await stream.send_message(Packet(type=Packet.STAT, stat=_stat(name, node, links)))
        await stream.send_message(Packet(type=Packet.STAT))
        while (packet := await stream.recv_message()) is not None:
            if packet.type == Packet.REQ:
                await self._content(stream, packet.id)
            elif packet.type == Packet.FIN:
                return
            elif packet.type == Packet.ERR:
                raise SampanError(f"error from receiver: {packet.data.decode(errors='replace')}")

    async def _content(self, stream: Any, number: int) -> None:
        if not 0 <= number < len(self._nodes):
            raise SampanError(f"invalid file id {number}")
        for data in self._index.read(self._nodes[number]):
            for start in range(0, len(data), _DATA):
                await stream.send_message(Packet(type=Packet.DATA, id=number, data=data[start : start + _DATA]))
        await stream.send_message(Packet(type=Packet.DATA, id=number))


def _walk(root: Node) -> Iterator[tuple[str, Node]]:
    """In the order that fsutil checks: by path, a directory before what is in it and before its longer neighbours. No
    recursion: an image may nest directories deeper than Python goes."""
    stack = [("", root, iter(sorted(root.children)))]
    while stack:
        path, directory, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            continue
        child, place = directory.children[name], posixpath.join(path, name)
        yield place, child
        if child.is_directory:
            stack.append((place, child, iter(sorted(child.children))))


def _stat(name: str, node: Node, links: dict[int, str]) -> Stat:
    told = Stat(path=name, mode=go_mode(node.st_mode), uid=node.st_uid, gid=node.st_gid, mod_time=node.st_mtime_ns)
    kind = stat.S_IFMT(node.st_mode)
    if kind == stat.S_IFREG:
        if (first := links.get(id(node))) is not None:
            told.linkname = first
            return told
        if node.links > 1:
            links[id(node)] = name
        told.size = node.size
    elif kind == stat.S_IFLNK:
        told.linkname = node.link
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        told.devmajor, told.devminor = os.major(node.device), os.minor(node.device)
    for key, value in (node.xattrs or {}).items():
        told.xattrs[key] = value
    return told
