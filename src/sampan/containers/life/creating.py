"""`POST /containers/create`: from words to a stored container, all or nothing.

Resources come first and the document last: a daemon that is killed in between leaves things without a document, which
`reconcile` removes; what has a document is whole.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from contextlib import ExitStack

from sampan.containers.context import Context, Intent, name_conflict
from sampan.containers.logs import log_drivers
from sampan.containers.model import (
    Config,
    Container,
    HostConfig,
    MountPoint,
    NetworkingConfig,
    RestartPolicy,
    Ulimit,
)
from sampan.containers.mountpoints import mounts
from sampan.containers.roster import Record
from sampan.containers.rules import merge, names, resources, validation
from sampan.containers.rules.host import Host, host
from sampan.containers.spec import linking, networking, oci
from sampan.errors import InvalidParameter, NotFound, SampanError
from sampan.images import Image, Platform, platforms


class Creating:
    def __init__(self, context: Context) -> None:
        self._context = context
        self.under_way: dict[str, str] = {}
        """Image ids by the ids of containers that are being made."""

    async def create(
        self,
        name: str,
        config: Config,
        host_config: HostConfig,
        endpoints: NetworkingConfig,
        platform: str | None,
    ) -> tuple[Record, list[str]]:
        """(the record, warnings)."""
        context = self._context
        if name:
            name = names.check(name)
        host_config.network_mode = _network_mode(host_config.network_mode)
        validation.check_config(config)
        warnings = validation.check_host_config(host_config, config)
        warnings += resources.check(host_config, host())
        oci.check(host_config)
        host_config.log_config = log_drivers.check(host_config.log_config, context.default_log)
        host_config.runtime = host_config.runtime or context.runtime.name()
        context.runtime.name(host_config.runtime)
        if host_config.links and host_config.network_mode == "bridge":
            warnings.append(
                "Links on the default bridge network are deprecated and will be removed in a future release. "
                "Use a custom network instead."
            )
        image = None
        if config.image:
            image = context.images.resolve(config.image, platforms.parse(platform) if platform else None)
            context.images.used(image.id)
            if not platform:
                warnings += _foreign(image)
        merged = merge.merge(config, image.config.config if image else None)
        adapt(host_config, host(), context)
        id = secrets.token_hex(32)
        name = self._reserve(name, id)
        try:
            container = _document(id, name, merged, host_config, endpoints, image)
            container.mounts = mounts.resolve(
                merged, host_config, lambda ref: context.roster.find(ref).container, str(context.settings.data_root)
            )
            linking.check(context, container)
            _check_endpoints(context, container)
            record = Record(container)
            self.under_way[id] = container.image_id
            await context.whole(self._make(record, image))
        except BaseException:
            context.roster.release(name, id)
            raise
        finally:
            self.under_way.pop(id, None)
        context.publish(container, "create")
        return record, warnings

    def _reserve(self, name: str, id: str) -> str:
        """Takes the name in memory at once, so that of two creates with one name the second is refused before it
        works."""
        roster = self._context.roster
        if name and (owner := roster.owner(name)):
            raise name_conflict(name, owner)
        name = name or names.generate(lambda free: roster.owner(free) is not None, id)
        roster.reserve(name, id)
        return name

    async def _make(self, record: Record, image: Image | None) -> None:
        context, container = self._context, record.container
        points = container.mounts
        try:
            await asyncio.to_thread(self._prepare, container, points, image)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise SampanError(f"creating container {container.id}: {place}{(error.strerror or '').lower()}") from error
        try:
            with context.database.transaction():
                context.save(record)
                context.intents.delete(container.id)
        except BaseException:
            await asyncio.to_thread(self._discard, container, points)
            raise
        context.roster.add(record)
        context.mounting.settle(container.id, points)

    def _prepare(self, container: Container, points: list[MountPoint], image: Image | None) -> None:
        """Blocks. Everything on disk; on failure nothing stays."""
        context = self._context
        with ExitStack() as undo:
            directory = context.directory(container.id)
            directory.mkdir(mode=0o710, parents=True)
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            if points:
                undo.callback(context.intents.delete, container.id)
                claim(context, container, points)
                undo.callback(context.mounting.abandon, container.id, points)
            undo.callback(context.snapshots.remove, container.id)
            context.snapshots.prepare(container.id, image.chain_id if image else None)
            if image is not None and (unfilled := context.mounting.unfilled(points)):
                self._populate(container, unfilled, image)
            undo.pop_all()

    def _populate(self, container: Container, points: list[MountPoint], image: Image) -> None:
        """The image's content goes into new volumes, from its root mounted for a moment (read-only: a writable overlay
        would sync the disk when it goes)."""
        context = self._context
        bundle = context.bundle(container)
        with ExitStack() as undo:
            bundle.path.mkdir(mode=0o700, parents=True)
            undo.callback(bundle.path.rmdir)
            context.snapshots.mount_chain(image.chain_id, bundle.rootfs)
            undo.callback(bundle.rootfs.rmdir)
            undo.callback(context.snapshots.unmount, bundle.rootfs)
            context.mounting.populate(container.id, points, bundle.rootfs)

    def _discard(self, container: Container, points: list[MountPoint]) -> None:
        context = self._context
        context.snapshots.remove(container.id)
        context.mounting.abandon(container.id, points)
        context.intents.delete(container.id)
        shutil.rmtree(context.directory(container.id), ignore_errors=True)


def claim(context: Context, container: Container, points: list[MountPoint]) -> None:
    """Volumes that exist for this container alone are written down with the intent to give them to it, in one
    transaction. Blocks."""
    if not any(point.anonymous for point in points):
        context.mounting.claim(container.id, points, container.host_config)
        return
    try:
        with context.database.transaction():
            context.mounting.claim(container.id, points, container.host_config)
            context.intents.put(container.id, Intent([point.name for point in points if point.anonymous]))
    except BaseException:
        context.mounting.unclaim(container.id, points)
        raise


def _foreign(image: Image) -> list[str]:
    """A warning when this host is not the one that the image was built for."""
    config, host_platform = image.config, platforms.host()
    own = Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    if not config.architecture or platforms.choose([own], host_platform) is not None:
        return []
    return [
        f"The requested image's platform ({platforms.text(own)}) does not match the detected host platform "
        f"({platforms.text(host_platform)}) and no specific platform was requested"
    ]


def _network_mode(mode: str) -> str:
    return "bridge" if mode in ("", "default") else mode


def adapt(host_config: HostConfig, host: Host, context: Context) -> None:
    """Docker's defaults, as `inspect` shows them; names of containers become ids, which renaming does not break."""
    if host_config.restart_policy is None or not host_config.restart_policy.name:
        host_config.restart_policy = RestartPolicy(name="no")
    if host_config.memory > 0 and host_config.memory_swap == 0:
        host_config.memory_swap = host_config.memory * 2
    settings = context.settings
    host_config.shm_size = host_config.shm_size or settings.default_shm_size
    host_config.ipc_mode = host_config.ipc_mode or settings.default_ipc_mode
    if not host_config.cgroupns_mode:
        host_config.cgroupns_mode = settings.default_cgroupns_mode or ("private" if host.unified else "host")
    own = {limit.name for limit in host_config.ulimits or []}
    more = [Ulimit(name, *limit) for name, limit in settings.default_ulimits.items() if name not in own]
    if more:
        host_config.ulimits = [*(host_config.ulimits or []), *more]
    if host_config.oom_kill_disable is None and host.oom_control:
        host_config.oom_kill_disable = False
    for field in ("network_mode", "ipc_mode", "pid_mode"):
        mode: str = getattr(host_config, field)
        if mode.startswith(networking.CONTAINER):
            try:
                other = context.roster.find(mode.removeprefix(networking.CONTAINER))
            except SampanError as error:
                if field != "network_mode":
                    raise InvalidParameter(error.message) from None
                continue  # starting will say so, as in Docker
            setattr(host_config, field, networking.CONTAINER + other.id)


def _check_endpoints(context: Context, container: Container) -> None:
    """Addresses that a network cannot give are refused before there is a container; a network that is not there, only
    at the start."""
    for request in networking.requests(container):
        try:
            context.networks.check(request)
        except NotFound:
            continue
        except InvalidParameter as error:
            error.message = f"invalid config for network {request.network}: {error.message}"
            raise


def _document(
    id: str,
    name: str,
    config: Config,
    host_config: HostConfig,
    endpoints: NetworkingConfig,
    image: Image | None,
) -> Container:
    if not config.hostname:
        config.hostname = _host_name() if host_config.network_mode == "host" else id[:12]
    if host_config.network_mode.startswith(networking.CONTAINER) and endpoints.endpoints_config:
        raise InvalidParameter("conflicting options: networks and the container type network mode")
    path, args = merge.command(config)
    return Container(
        id=id,
        name=name,
        created=time.time_ns(),
        image_id=image.id if image else "",
        image_name=config.image,
        platform="linux",
        path=path,
        args=args,
        config=config,
        host_config=host_config,
        networking=networking.wanted(host_config.network_mode, endpoints, config),
    )


def _host_name() -> str:
    import socket

    return socket.gethostname()
