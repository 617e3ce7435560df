"""A session inside a gRPC call: Bake shares its directories through Control.Session, not on a connection of their own.
The bytes of an HTTP/2 connection travel in the call's messages.

Source: BuildKit session/grpchijack.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sampan.buildkit.wire_pb2 import Bytes

_HIGH = 1 << 20
"""Bytes that wait for the client before whoever writes is held up."""


class Tunnel(asyncio.Transport):
    """A transport whose other end is a client's stream of messages."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        self._closing = False
        self._protocol: asyncio.Protocol | None = None

    # -- for the protocol ----------------------------------------------------------------------------
    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing or not data:
            return
        self._outgoing.put_nowait(bytes(data))
        before, self._waiting = self._waiting, self._waiting + len(data)
        if before <= _HIGH < self._waiting and self._protocol is not None:
            self._protocol.pause_writing()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._outgoing.put_nowait(None)

    # -- for the call --------------------------------------------------------------------------------
    async def run(self, protocol: asyncio.Protocol) -> None:
        """Carries both ways until one side ends it. `protocol` has been given this transport."""
        self._protocol = protocol
        sending = asyncio.ensure_future(self._send())
        receiving = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._closing = True
            try:
                for task in (sending, receiving):
                    task.cancel()
                await asyncio.gather(sending, receiving, return_exceptions=True)
            finally:
                protocol.connection_lost(None)  # or calls over the session would wait for ever

    async def _send(self) -> None:
        while (data := await self._outgoing.get()) is not None:
            await self._stream.send_message(Bytes(data=data))
            before, self._waiting = self._waiting, self._waiting - len(data)
            if self._waiting <= _HIGH < before and self._protocol is not None:
                self._protocol.resume_writing()

    async def _receive(self) -> None:
        assert self._protocol is not None
        while (message := await self._stream.recv_message()) is not None:
            self._protocol.data_received(message.data)
