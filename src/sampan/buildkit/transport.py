"""gRPC on sockets that have left HTTP/1.1: grpclib's HTTP/2 without its listening and dialling, with the limits that
Go's servers have and grpclib has not. What comes is whatever a client likes to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from grpclib.client import Channel, Handler
from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Method
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError
from grpclib.protocol import Connection, EventsProcessor, H2Protocol, Stream
from grpclib.server import Handler as ServerHandler
from grpclib.server import Server

from sampan.buildkit.wire_pb2 import Any as Detail
from sampan.buildkit.wire_pb2 import Bytes, RpcStatus

if TYPE_CHECKING:
    from grpclib._typing import IServable
    from grpclib.utils import Wrapper

LARGEST = 16 << 20
"""Bytes of a message (BuildKit util/appdefaults, grpcclient and daemon alike). A message is whole in memory before
anybody sees it, and its sender says how long it is."""

Lost = Callable[[Exception | None], None]


# -- limits ----------------------------------------------------------------------------------------
class _Bounded(Stream):
    async def recv_data(self, size: int) -> bytes:
        if size > LARGEST:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({size} vs. {LARGEST})")
        try:
            return await super().recv_data(size)
        except AssertionError:  # grpclib's: the stream ended inside a message
            raise GRPCError(Status.INTERNAL, "unexpected EOF") from None


class _Connection(Connection):
    def create_stream(self, *, stream_id: int | None = None, wrapper: Wrapper | None = None) -> Stream:
        return _Bounded(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)


class _Protocol(H2Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        made = self.connection
        self.connection = _Connection(made._connection, made._transport, config=self.config)
        self.processor = EventsProcessor(self.handler, self.connection)


class _Codec(ProtoCodec):
    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            return super().decode(data, message_type)
        except DecodeError as error:
            raise GRPCError(Status.INTERNAL, f"grpc: failed to unmarshal the received message: {error}") from None


async def asked(stream: Any) -> Any:
    """The request of a call that has one. Raises `GRPCError` for a client that ends the call without."""
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INTERNAL, "unexpected EOF")
    return request


# -- connections -----------------------------------------------------------------------------------


class Carried(asyncio.Protocol):
    """An HTTP/2 connection on a transport that is open already."""

    def __init__(self, inner: H2Protocol, lost: Lost) -> None:
        self._inner = inner
        self._lost = lost
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, transport: asyncio.Transport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        if not self._gone.done():
            self._gone.set_result(None)
        self._lost(exc)

    async def ended(self) -> None:
        """Returns when it is closed and the calls on it, which its end cancels, have cleaned up behind them."""
        await self._gone
        if isinstance(self._inner.handler, ServerHandler):
            await self._inner.handler.wait_closed()


class DetailsCodec(StatusDetailsCodecBase):
    """`grpc-status-details-bin`: details are (type URL, bytes)."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        told = [Detail(type_url=url, value=value) for url, value in details or ()]
        return RpcStatus(code=status.value, message=message or "", details=told).SerializeToString()

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        found = RpcStatus.FromString(data)
        return [(one.type_url, one.value) for one in found.details]


async def _unknown(stream: Any) -> None:
    raise GRPCError(Status.UNIMPLEMENTED, "this engine has no such method")


class _Methods(dict[str, Method]):
    """grpclib's own answer to a method that is not there has no content type: Go's clients take it for a broken server
    and not for one that lacks the method."""

    def get(self, name: str, default: Any = None) -> Method:
        return super().get(name) or Method(_unknown, Cardinality.STREAM_STREAM, Bytes, Bytes)


class Served(Server):
    """Services on connections that it is given."""

    def __init__(self, services: Collection[IServable]) -> None:
        super().__init__(services, codec=_Codec(), status_details_codec=DetailsCodec())
        self._mapping = _Methods(self._mapping)

    def connection(self) -> H2Protocol:
        made = self._protocol_factory()
        return _Protocol(made.handler, made.config, made.h2_config)


class Called(Channel):
    """The client's end of one connection."""

    def __init__(self) -> None:
        super().__init__("localhost", 0, codec=_Codec(), status_details_codec=DetailsCodec())

    def connection(self) -> H2Protocol:
        self._protocol = _Protocol(Handler(), self._config, self._h2_config)
        return self._protocol

    async def _create_connection(self) -> H2Protocol:
        raise ConnectionError("the client has closed its session")
