"""The LLBBridge service: the frontends, asked for by the client that steers its own build.

Which build a call belongs to is in its metadata. A reference is one of our `Request`s; nothing is built before it is
exported, evaluated or another build's base.

Source: BuildKit frontend/gateway/pb/gateway.proto, client/build.go, frontend/gateway/grpcclient.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sampan.buildkit.attributes import FRONTENDS
from sampan.buildkit.control import worker
from sampan.buildkit.failures import failure
from sampan.buildkit.solving import Solve
from sampan.buildkit.transport import asked
from sampan.buildkit.wire_pb2 import (
    Capability,
    Definition,
    Empty,
    FrontendRequest,
    FrontendResponse,
    InputsResponse,
    Op,
    OpMetadata,
    Pong,
    Ref,
    RefRequest,
    Result,
    ReturnRequest,
    RpcStatus,
    SourceOp,
)
from sampan.errors import InvalidParameter, NotSupported, SampanError

if TYPE_CHECKING:
    from sampan.buildkit.service import Solves
    from sampan.engine import Engine

_NAME = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD = "buildkit-controlapi-buildid"
_RESULT = "sampan-result://"
"""How a result of ours is written as a source in LLB, for clients that hand it on as another build's input."""
_FRONTEND_CAPS = (
    "solve.base", "solve.inlinereturn", "resolveimage", "readfile", "return", "returnmap", "proto.refarray",
    "reference.output", "importcaches", "frontend.inputs", "gateway.solve.metadata", "frontend.caps",
    "gateway.solve.evaluate", "gateway.evaluate", "reference.attestations",
)  # fmt: skip
_LLB_CAPS = (
    "source.image", "source.image.resolvemode", "source.local", "source.local.unique", "source.local.sessionid",
    "source.local.includepatterns", "source.local.followpaths", "source.local.excludepatterns",
    "source.local.sharedkeyhint", "source.local.differ", "source.git", "source.git.keepgitdir", "source.git.fullurl",
    "source.http", "source.http.checksum", "source.http.perm", "soruce.http.uidgid", "source.buildop.llbfilename",
    "exec.meta.base", "exec.meta.cgroup.parent", "exec.meta.network", "exec.meta.proxyenv", "exec.meta.security",
    "exec.meta.setsdefaultpath", "exec.meta.ulimit", "exec.meta.linux.resources", "exec.mount.bind",
    "exec.mount.bind.readwrite-nooutput", "exec.mount.cache", "exec.mount.cache.sharing", "exec.mount.selector",
    "exec.mount.tmpfs", "exec.mount.tmpfs.size", "exec.mount.secret", "exec.mount.ssh", "exec.secretenv", "file.base",
    "file.rm.wildcard", "file.copy.includeexcludepatterns", "constraints", "platform", "meta.ignorecache",
    "meta.description", "meta.exportcache", "exporter.image.annotations", "exporter.image.attestations",
    "exporter.sourcedateepoch", "exporter.multiple",
)  # fmt: skip
"""What Dockerfiles may do here, in the words that clients ask for it with (BuildKit solver/pb/caps.go, its misspelling
included)."""


class Gateway:
    def __init__(self, engine: Engine, solves: Solves) -> None:
        self._engine, self._solves = engine, solves

    def __mapping__(self) -> dict[str, Handler]:
        unary = Cardinality.UNARY_UNARY
        return {
            _NAME + "Ping": Handler(self.ping, unary, Empty, Pong),
            _NAME + "Solve": Handler(self.solve, unary, FrontendRequest, FrontendResponse),
            _NAME + "Evaluate": Handler(self.evaluate, unary, RefRequest, Empty),
            _NAME + "Return": Handler(self.return_, unary, ReturnRequest, Empty),
            _NAME + "Inputs": Handler(self.inputs, unary, Empty, InputsResponse),
            _NAME + "Warn": Handler(self.warn, unary, Empty, Empty),
        }

    async def _solve(self, stream: Any) -> Solve:
        id = str((stream.metadata or {}).get(_BUILD, ""))
        found = await self._solves.get(id)
        if found is None:
            raise GRPCError(Status.NOT_FOUND, f"no such job {id}")
        return found

    async def ping(self, stream: Any) -> None:
        await asked(stream)
        await self._solve(stream)
        pong = Pong(
            frontend_caps=[Capability(id=id, enabled=True) for id in _FRONTEND_CAPS],
            llb_caps=[Capability(id=id, enabled=True) for id in _LLB_CAPS],
            workers=[worker(self._engine)],
        )
        await stream.send_message(pong)

    async def solve(self, stream: Any) -> None:
        request: FrontendRequest = await asked(stream)
        solve = await self._solve(stream)
        try:
            if request.frontend not in FRONTENDS:
                what = f"frontend {request.frontend}" if request.frontend else "LLB"
                raise NotSupported(f"{what} is not supported: this engine builds Dockerfiles")
            attrs = dict(request.frontend_opt)
            inputs = {name: _result_of(definition) for name, definition in request.frontend_inputs.items()}
            id = solve.request(attrs, self._solves.known(inputs))
        except Exception as error:
            raise failure(error) from None
        if question := attrs.get("requestid"):
            answer = await solve.requested(id).answer(question)
            await stream.send_message(FrontendResponse(result=Result(ref=Ref(), metadata=answer)))
            return
        if request.evaluate:
            await solve.requested(id).evaluate()
        self._solves.remember(id, solve.requested(id))
        await stream.send_message(FrontendResponse(result=Result(ref=Ref(id=id, **{"def": _definition(id)}))))

    async def evaluate(self, stream: Any) -> None:
        request: RefRequest = await asked(stream)
        solve = await self._solve(stream)
        if request.ref:
            try:
                found = solve.requested(request.ref)
            except SampanError as error:
                raise failure(error) from None
            await found.evaluate()
        await stream.send_message(Empty())

    async def return_(self, stream: Any) -> None:
        request: ReturnRequest = await asked(stream)
        solve = await self._solve(stream)
        if not solve.result.done():
            if request.HasField("error"):
                solve.result.set_exception(_told(request.error))
            else:
                try:
                    id = _returned(request.result)
                    solve.result.set_result(solve.requested(id) if id else None)
                except SampanError as error:
                    raise failure(error) from None
        await stream.send_message(Empty())

    async def inputs(self, stream: Any) -> None:
        """Only of a frontend that runs inside a build; a client's has none."""
        await asked(stream)
        await stream.send_message(InputsResponse())

    async def warn(self, stream: Any) -> None:
        await asked(stream)
        await stream.send_message(Empty())


def _told(error: RpcStatus) -> GRPCError:
    """A client's own failure, which its Control.Solve is to end with."""
    details = [(one.type_url, one.value) for one in error.details]
    known = error.code in {one.value for one in Status} - {Status.OK.value}
    return GRPCError(Status(error.code) if known else Status.UNKNOWN, error.message, details)


def _returned(result: Result) -> str:
    if result.WhichOneof("result") == "refs":
        ids = {ref.id for ref in result.refs.refs.values()}
        if len(ids) > 1:
            raise NotSupported("a result of several references is not supported")
        return ids.pop() if ids else ""
    return str(result.ref.id)


def _definition(id: str) -> Definition:
    """A result of ours as LLB: a source, and what ends every definition, an operation with it as its only input."""
    source = Op(source=SourceOp(identifier=_RESULT + id)).SerializeToString()
    digest = "sha256:" + hashlib.sha256(source).hexdigest()
    last = Op()
    last.inputs.add(digest=digest, index=0)
    metadata = {digest: OpMetadata()}  # a client takes a definition without any for an empty one
    return Definition(metadata=metadata, **{"def": [source, last.SerializeToString()]})


def _result_of(definition: Definition) -> str:
    """The id in it; "" when it is somebody else's LLB."""
    for data in getattr(definition, "def"):
        try:
            op = Op.FromString(data)
        except DecodeError as error:
            raise InvalidParameter(f"failed to parse llb proto op: {error}") from None
        if op.source.identifier.startswith(_RESULT):
            return str(op.source.identifier.removeprefix(_RESULT))
    return ""
