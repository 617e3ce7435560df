"""Networks of a container that exists: connect and disconnect, whether it runs or not."""

from __future__ import annotations

from sampan.containers.context import Context
from sampan.containers.model import EndpointSettings
from sampan.containers.roster import Record
from sampan.containers.spec import etc_files, networking
from sampan.errors import Conflict, Forbidden, InvalidParameter, NotFound, SampanError


class Connecting:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def connect(self, record: Record, ref: str, settings: EndpointSettings) -> None:
        context, container = self._context, record.container
        network = context.networks.get(ref)
        async with record.lock:
            mode = container.host_config.network_mode
            if mode.startswith(networking.CONTAINER):
                raise InvalidParameter(
                    "container sharing network namespace with another container or host cannot be connected to any "
                    "other network"
                )
            if network.name in ("host", "none") or mode in ("host", "none"):
                if network.name == "host" or mode == "host":
                    raise InvalidParameter(
                        "container cannot be disconnected from host network or connected to host network"
                        if network.name == "host"
                        else "cannot connect container to network: it uses the host network"
                    )
                raise InvalidParameter(
                    "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                )
            context.networks.check(networking.request(container, network.name, settings))
            known = self._key(record, network.name, network.id)
            if known is not None and (container.state.running or container.networking[known].network_id):
                raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
            settings.network_id = network.id
            if container.state.running:
                endpoint = await context.networks.connect(
                    container.id, networking.request(container, network.name, settings)
                )
                networking.fill(settings, endpoint)
            before = self._resolv_conf(record)
            if known is not None:
                del container.networking[known]
            container.networking[network.name] = settings
            self._rewrite(record, before)
            context.save(record)

    async def disconnect(self, record: Record, ref: str, force: bool) -> None:
        context, container = self._context, record.container
        try:
            network = context.networks.get(ref)
            name, id = network.name, network.id
        except NotFound:
            if ref not in container.networking:
                raise
            name, id = ref, ""
        async with record.lock:
            if name == "host" and container.host_config.network_mode == "host":
                raise Conflict("container cannot be disconnected from host network or connected to host network")
            key = self._key(record, name, id)
            if key is None:
                raise SampanError(f"container {container.id} is not connected to network {name}")
            if container.state.running:
                try:
                    await context.networks.disconnect(container.id, id or name)
                except SampanError:
                    if not force:
                        raise
            before = self._resolv_conf(record)
            del container.networking[key]
            self._rewrite(record, before)
            context.save(record)

    @staticmethod
    def _key(record: Record, name: str, id: str) -> str | None:
        return next(
            (
                key
                for key, settings in record.container.networking.items()
                if key == name or (id and (settings.network_id == id or (len(key) >= 12 and id.startswith(key))))
            ),
            None,
        )

    def _resolv_conf(self, record: Record) -> str:
        container = record.container
        return etc_files.resolv_conf(self._context, container, networking.sandbox(container))

    def _rewrite(self, record: Record, before: str) -> None:
        """The container's own addresses in /etc/hosts follow its networks, and so does its nameserver; a resolv.conf
        that somebody has changed (it does not say what it said `before`) is left alone, as Docker does."""
        container = record.container
        if not container.state.running:
            return
        paths = etc_files.of(self._context.directory(container.id))
        etc_files.write_hosts(self._context, container, networking.sandbox(container), paths.hosts)
        if paths.resolv_conf.read_text(errors="replace") == before:
            paths.resolv_conf.write_text(self._resolv_conf(record))
