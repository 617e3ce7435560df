"""A registry from its options: storage, listening socket, collection. For the program and for the daemon."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from contextlib import suppress
from pathlib import Path

from sampan.errors import InvalidParameter, SampanError
from sampan.images.remote.auth import RegistryAuth
from sampan.registry.collection import Collector
from sampan.registry.credentials import Htpasswd
from sampan.registry.directory import Directory
from sampan.registry.mirror import Mirror
from sampan.registry.options import Options, split_address
from sampan.registry.server import Registry, Rules
from sampan.registry.storage import Storage

log = logging.getLogger(__name__)


class Serving:
    """A registry that listens. `async with` it."""

    def __init__(self, options: Options, storage: Storage | None = None) -> None:
        """`storage`: the engine's; else what the options name. Raises `InvalidParameter`."""
        self._options = options
        self.registry = Registry(
            storage or _storage(options),
            rules=Rules(delete=not options.no_delete),
            htpasswd=Htpasswd(Path(options.htpasswd)) if options.htpasswd else None,
        )
        if options.mirror:
            auth = None
            if options.mirror_username:
                auth = RegistryAuth(options.mirror_username, _secret(options.mirror_password_file))
            self.registry.mirrors(Mirror(options.mirror, self.registry.repositories, self.registry.metrics, auth))
        self.collector = Collector(
            self.registry.repositories,
            self.registry.metrics,
            options.gc_grace,
            options.mirror_keep if options.mirror else 0.0,
            options.gc_untagged,
        )
        self._server: asyncio.Server | None = None
        self._collecting: asyncio.Task[None] | None = None
        self.port = 0

    async def __aenter__(self) -> Serving:
        options = self._options
        host, port = split_address(options.address)
        context = _tls(options) if options.tlscert else None
        if not _is_loopback(host) and not (options.htpasswd and options.tlscert):
            log.warning("the registry on %s is open: give --htpasswd and --tlscert with --tlskey", options.address)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self.registry.server, host or None, port, ssl=context, backlog=1024)
        except OSError as error:
            raise SampanError(f"cannot listen on {options.address}: {error.strerror or error}") from None
        self.port = self._server.sockets[0].getsockname()[1]
        if options.gc_interval:
            self._collecting = asyncio.ensure_future(self.collector.forever(options.gc_interval))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._collecting is not None:
            self._collecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._collecting
        if self._server is not None:
            self._server.close()
        await self.registry.close()


def _storage(options: Options) -> Storage:
    if options.storage.startswith("s3://"):
        from sampan.registry.objects import Objects, open_store

        return Objects(open_store(options.storage, options.s3_endpoint, options.s3_region))
    if "://" in options.storage:
        raise InvalidParameter(f"invalid storage {options.storage!r}: use a directory or s3://BUCKET[/PREFIX]")
    root = Path(options.storage).absolute()
    if (root / "state.db").exists():
        raise InvalidParameter(
            f"{root} is an engine's data root, which only its daemon may write: use sampand --registry "
            f"{options.address}"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        return Directory(root)
    except OSError as error:
        raise InvalidParameter(f"cannot use {root} as storage: {error.strerror}") from None


def _secret(path: str) -> str:
    try:
        return Path(path).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"cannot read {path}: {error}") from None


def _tls(options: Options) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.tlscert, options.tlskey)
        if options.tlscacert:
            context.load_verify_locations(options.tlscacert)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidParameter(f"cannot use the registry's TLS certificate: {error}") from None
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
