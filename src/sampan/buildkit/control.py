"""The Control service: what builders of BuildKit's offer, of which this engine is one.

Source: BuildKit api/services/control/control.proto; moby builder/builder-next/worker (labels).
"""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

import sampan
from sampan.buildkit.attributes import FRONTENDS, Export
from sampan.buildkit.failures import failure
from sampan.buildkit.sessions import Sessions
from sampan.buildkit.solving import Wanted
from sampan.buildkit.transport import asked
from sampan.buildkit.tunnel import Tunnel
from sampan.buildkit.wire_pb2 import (
    Bytes,
    Empty,
    Filters,
    Info,
    Platform,
    PruneRequest,
    SolveRequest,
    SolveResponse,
    StatusRequest,
    StatusResponse,
    UsageRecord,
    UsageRecords,
    Version,
    Worker,
    Workers,
)
from sampan.builds.cache import CacheRecord, kept
from sampan.builds.service import CacheMount
from sampan.errors import NotSupported, SampanError
from sampan.images import platforms

if TYPE_CHECKING:
    from sampan.buildkit.service import Solves
    from sampan.engine import Engine

_NAME = "/moby.buildkit.v1.Control/"
_LABELS = {
    "org.mobyproject.buildkit.worker.executor": "containerd",
    # What buildx takes for a store of images with manifests, several platforms and attestations: such as ours.
    "org.mobyproject.buildkit.worker.snapshotter": "overlayfs",
}


def _version() -> Version:
    return Version(package="sampan", version=f"v{sampan.__version__}")


def worker(engine: Engine) -> Worker:
    found = Worker(id=f"sampan-{engine.id}", labels=_LABELS, version=_version())
    if address := engine.networks.host_gateway():
        found.labels["org.mobyproject.buildkit.worker.moby.host-gateway-ip"] = address
    for one in platforms.runnable():
        found.platforms.append(Platform(os=one.os or "linux", architecture=one.architecture, variant=one.variant))
    return found


class Control:
    def __init__(self, engine: Engine, solves: Solves, sessions: Sessions) -> None:
        self._engine, self._solves, self._sessions = engine, solves, sessions

    def __mapping__(self) -> dict[str, Handler]:
        unary, streaming = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            _NAME + "Solve": Handler(self.solve, unary, SolveRequest, SolveResponse),
            _NAME + "Status": Handler(self.status, streaming, StatusRequest, StatusResponse),
            _NAME + "Session": Handler(self.session, Cardinality.STREAM_STREAM, Bytes, Bytes),
            _NAME + "ListWorkers": Handler(self.workers, unary, Filters, Workers),
            _NAME + "Info": Handler(self.info, unary, Empty, Info),
            _NAME + "DiskUsage": Handler(self.usage, unary, Filters, UsageRecords),
            _NAME + "Prune": Handler(self.prune, streaming, PruneRequest, UsageRecord),
        }

    # -- building ------------------------------------------------------------------------------------
    async def solve(self, stream: Any) -> None:
        request: SolveRequest = await asked(stream)
        try:
            wanted = Wanted(
                session=request.session,
                exports=_exports(request),
                caches_from=[(one.type, dict(one.attrs)) for one in request.cache.imports],
                caches_to=[(one.type, dict(one.attrs)) for one in request.cache.exports],
                entitlements=list(request.entitlements),
            )
            if getattr(request.definition, "def"):
                raise NotSupported("LLB is not supported: this engine builds Dockerfiles")
            async with self._solves.begun(request.ref, wanted) as solve:
                if request.frontend in FRONTENDS:
                    id = solve.request(dict(request.frontend_attrs), {})
                    solve.result.set_result(solve.requested(id))
                elif request.frontend:
                    raise NotSupported(f"frontend {request.frontend} is not supported")
                response = await solve.run()
        except Exception as error:
            raise failure(error) from None
        await stream.send_message(SolveResponse(exporter_response=response))

    async def status(self, stream: Any) -> None:
        request: StatusRequest = await asked(stream)
        solve = await self._solves.get(request.ref)
        if solve is None:
            raise GRPCError(Status.NOT_FOUND, f"no such job {request.ref}")
        async for message in solve.feed:
            await stream.send_message(message)

    async def session(self, stream: Any) -> None:
        """As `/session`, inside this call."""
        metadata = stream.metadata
        offers = metadata.getall("x-docker-expose-session-grpc-method", [])
        headers = {name.title(): str(metadata[name]) for name in metadata}
        try:
            session = await self._sessions.add(headers, [str(offer) for offer in offers])
        except SampanError as error:
            raise failure(error) from None
        tunnel, carried = Tunnel(stream), session.channel.connection()
        try:
            carried.connection_made(tunnel)
            await tunnel.run(carried)
        finally:
            self._sessions.remove(session)
            session.channel.close()

    # -- about the builder -----------------------------------------------------------------------------
    async def workers(self, stream: Any) -> None:
        await asked(stream)
        await stream.send_message(Workers(record=[worker(self._engine)]))

    async def info(self, stream: Any) -> None:
        await asked(stream)
        await stream.send_message(Info(version=_version()))

    # -- its cache -------------------------------------------------------------------------------------
    async def usage(self, stream: Any) -> None:
        request: Filters = await asked(stream)
        if any(request.filter):
            raise GRPCError(Status.UNIMPLEMENTED, "filters of the build cache are not supported")
        builds = self._engine.builds
        records = self._records()
        for mount in await asyncio.to_thread(builds.cache_mounts):
            records.append(_mount(mount))
        await stream.send_message(UsageRecords(record=records))

    def _records(self) -> list[UsageRecord]:
        builds = self._engine.builds
        in_images = builds.in_images()
        return [_record(record, builds.in_use(record), in_images) for record in builds.usage()]

    async def prune(self, stream: Any) -> None:
        request: PruneRequest = await asked(stream)
        if any(request.filter):
            raise GRPCError(Status.UNIMPLEMENTED, "filters of the build cache are not supported")
        builds = self._engine.builds
        before = time.time_ns() - request.keep_duration
        in_images = builds.in_images() if not request.all else set()

        def wanted(record: CacheRecord) -> bool:
            if request.keep_duration and record.used > before:
                return False
            return request.all or record.layer is None or record.layer.chain_id not in in_images

        known = {f"sha256:{record.id}": record for record in self._records()}
        total = sum(record.size for record in builds.usage())
        free = shutil.disk_usage(self._engine.settings.data_root).free
        keep = kept(total, free, request.reserved_space, request.max_used_space, request.min_free_space)
        removed, _ = await builds.prune(wanted, keep)
        for key in removed:
            if key in known:
                await stream.send_message(known[key])
        if not keep:
            mounts = {mount.path.name: mount for mount in await asyncio.to_thread(builds.cache_mounts)}
            names, _ = await builds.prune_cache_mounts(lambda mount: not request.keep_duration or mount.used <= before)
            for mount in (mounts[name] for name in names if name in mounts):
                await stream.send_message(_mount(mount))


def _record(record: CacheRecord, in_use: bool, in_images: set[str]) -> UsageRecord:
    one = UsageRecord(
        id=record.key.removeprefix("sha256:"),
        in_use=in_use,
        size=record.size,
        usage_count=record.uses,
        description=record.text,
        record_type="regular",
        shared=record.layer is not None and record.layer.chain_id in in_images,
        parents=[record.parent.removeprefix("sha256:")] if record.parent else [],
    )
    one.created_at.CopyFrom(_stamp(record.made))
    one.last_used_at.CopyFrom(_stamp(record.used))
    return one


def _mount(mount: CacheMount) -> UsageRecord:
    one = UsageRecord(
        id=mount.path.name,
        mutable=True,
        in_use=mount.in_use,
        size=mount.size,
        description=f"cached mount {mount.id}",
        record_type="exec.cachemount",
        usage_count=1,
    )
    one.last_used_at.CopyFrom(_stamp(mount.used))
    one.created_at.CopyFrom(_stamp(mount.used))
    return one


def _exports(request: SolveRequest) -> list[Export]:
    if request.exporters:
        return [Export(one.type, dict(one.attrs)) for one in request.exporters]
    if request.exporter_deprecated:
        return [Export(request.exporter_deprecated, dict(request.exporter_attrs_deprecated))]
    return []


def _stamp(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)
