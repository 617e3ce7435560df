"""What clients share: each session is a gRPC connection on which the client serves and the engine calls.

Source: BuildKit session/manager.go (headers), session/auth, session/secrets, session/sshforward.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

from grpclib.client import StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from sampan.buildkit.earlier import Earlier
from sampan.buildkit.transport import Called
from sampan.buildkit.wire_pb2 import AgentRequest, Bytes, Credentials, CredentialsRequest, Empty, SecretRequest
from sampan.builds.ssh import FAILURE, LIMIT, Ask
from sampan.errors import SampanError
from sampan.images.service import RegistryAuth

_WAIT = 5.0
"""Seconds for a session to appear: its client opens it beside the request that names it."""
_LENGTH = struct.Struct(">I")


@dataclass(slots=True, eq=False)
class Session:
    """`offers`: paths of the methods that the client serves, in lower case."""

    id: str
    offers: frozenset[str]
    shared_key: str = ""
    """Of all sessions of one client about the same directory; "" when it does not say."""
    channel: Called = field(default_factory=Called)

    def serves(self, path: str) -> bool:
        return path.lower() in self.offers

    # -- what a client has besides files -----------------------------------------------------------
    async def credentials(self, domain: str) -> RegistryAuth | None:
        """For a registry, as `docker login` left them; None for none."""
        path = "/moby.filesync.v1.Auth/Credentials"
        if not self.serves(path):
            return None
        host = "registry-1.docker.io" if domain == "docker.io" else domain
        call = UnaryUnaryMethod(self.channel, path, CredentialsRequest, Credentials)
        try:
            with _present():
                found = await call(CredentialsRequest(host=host))
        except GRPCError:
            return None
        if not found.secret:
            return None
        if not found.username:
            return RegistryAuth(identity_token=found.secret)
        return RegistryAuth(username=found.username, password=found.secret)

    async def secret(self, id: str) -> bytes | None:
        path = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
        if not self.serves(path):
            return None
        try:
            with _present():
                found = await UnaryUnaryMethod(self.channel, path, SecretRequest, Bytes)(SecretRequest(id=id))
        except GRPCError as error:
            if error.status in (Status.NOT_FOUND, Status.UNIMPLEMENTED):
                return None
            raise SampanError(f"failed to get secret {id}: {error.message}") from None
        return found.data

    async def agent(self, id: str) -> Ask | None:
        """The client's ssh agent of this name."""
        path = "/moby.sshforward.v1.SSH/"
        if not self.serves(path + "CheckAgent"):
            return None
        try:
            with _present():
                await UnaryUnaryMethod(self.channel, path + "CheckAgent", AgentRequest, Empty)(AgentRequest(id=id))
        except GRPCError:
            return None
        forward = StreamStreamMethod(self.channel, path + "ForwardAgent", Bytes, Bytes)

        async def ask(message: bytes) -> bytes:
            """A connection for each question: no state is kept between them in the agent protocol."""
            try:
                async with forward.open(metadata={"buildkit.ssh.id": id}) as stream:
                    await stream.send_message(Bytes(data=_LENGTH.pack(len(message)) + message))
                    answer = await _answer(stream)
                    await stream.end()
                    return answer
            except (GRPCError, StreamTerminatedError, ConnectionError):
                return FAILURE

        return ask

    async def uploaded(self, place: str) -> AsyncIterator[bytes]:
        """What a client has put in the place of a context's URL: an archive from its standard input."""
        call = StreamStreamMethod(self.channel, "/moby.upload.v1.Upload/Pull", Bytes, Bytes)
        try:
            with _present():
                async with call.open(metadata={"urlpath": place}) as stream:
                    await stream.send_request()
                    await stream.end()
                    async for piece in stream:
                        yield piece.data
        except GRPCError as error:
            raise SampanError(f"failed to read the context from the client: {error.message}") from None


@contextlib.contextmanager
def _present() -> Iterator[None]:
    try:
        yield
    except (StreamTerminatedError, ConnectionError):
        raise SampanError("the client has closed its session") from None


async def _answer(stream: AsyncIterator[Bytes]) -> bytes:
    gathered = b""
    async for piece in stream:
        gathered += piece.data
        if len(gathered) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(gathered)
            if not 0 < length <= LIMIT:
                return FAILURE
            if len(gathered) >= _LENGTH.size + length:
                return gathered[_LENGTH.size : _LENGTH.size + length]
    return FAILURE


class Sessions:
    """Those of one daemon. Lives on the event loop."""

    def __init__(self) -> None:
        self.earlier = Earlier()
        self._open: dict[str, Session] = {}
        self._changed = asyncio.Condition()

    async def add(self, headers: Mapping[str, str], offers: list[str]) -> Session:
        """`headers`: of the client's request; `offers`: its X-Docker-Expose-Session-Grpc-Method ones."""
        id = headers.get("X-Docker-Expose-Session-Uuid", "")
        if not id:
            raise SampanError("no session id was given")
        key = headers.get("X-Docker-Expose-Session-Sharedkey", "")
        session = Session(id, frozenset(offer.lower() for offer in offers), key)
        async with self._changed:
            if id in self._open:
                raise SampanError(f"session {id} already exists")
            self._open[id] = session
            self._changed.notify_all()
        return session

    def remove(self, session: Session) -> None:
        self._open.pop(session.id, None)

    async def get(self, id: str) -> Session:
        async with self._changed:
            try:
                async with asyncio.timeout(_WAIT):
                    await self._changed.wait_for(lambda: id in self._open)
            except TimeoutError:
                raise SampanError(f"no active session for {id}: context deadline exceeded") from None
        return self._open[id]
