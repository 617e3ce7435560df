"""`sampand`: reads flags and daemon.json, listens, opens the engine, and stops cleanly. Containers outlive it.

Heavy modules are imported only once the configuration stands, so that --help, --version and a refusal come at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import sampan
from sampan import configuration, stacks
from sampan.configuration import ConfigurationError
from sampan.errors import Conflict, SampanError
from sampan.settings import Settings

if TYPE_CHECKING:
    from sampan.api.listeners import Listener
    from sampan.api.metrics import Metrics
    from sampan.api.server import Api
    from sampan.engine import Engine
    from sampan.registry.serving import Serving

log = logging.getLogger("sampan")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3
"""mallopt(3)."""
_OPEN_FILES = 65536
_AT_ONCE = 32
"""Connections that asyncio accepts before it looks at any of them. It calls that the backlog: with a real one's 4096 a
burst of clients takes every descriptor, and each failed accept is logged and tried again so many times a second."""
_TRIM_AFTER = 20.0
"""Seconds between returns of freed memory to the kernel, when there was work."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the daemon; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        flags = configuration.from_command_line(given)
        if flags.get("help"):
            sys.stdout.write(configuration.usage())
            return 0
        if flags.get("version"):
            print(f"Sampan version {sampan.__version__}, API {sampan.API_VERSION}")
            return 0
        settings = load(flags)
    except ConfigurationError as error:
        print(str(error) + ("\nSee 'sampand --help'." if error.hint else ""), file=sys.stderr)
        return 1
    if flags.get("validate"):
        print("configuration OK", file=sys.stderr)
        return 0
    if os.geteuid() != 0:
        print("sampand needs to be started with root privileges", file=sys.stderr)
        return 1
    _log_to_stderr(settings)
    _use_proxies(settings)
    _allow_many_files()
    _tune_memory()
    try:
        return asyncio.run(_run(settings, flags))
    except (SampanError, OSError, sqlite3.Error) as error:
        reason = _reason(error)
        log.error("failed to start daemon: %s", reason)
        print(f"failed to start daemon: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (f"{error.filename}: " if error.filename else "") + (error.strerror or str(error)).lower()
    return error.message if isinstance(error, SampanError) else f"the state cannot be used: {error}"


def load(flags: configuration.Given) -> Settings:
    """Settings from the flags and the file they name, or the default one if it exists."""
    path, file = _file(flags)
    return configuration.combine(_settable(flags), file or {}, path, merged=file is not None)


def _settable(flags: configuration.Given) -> configuration.Given:
    return {flag: value for flag, value in flags.items() if flag not in ("config-file", "validate")}


def _file(flags: configuration.Given) -> tuple[Path, configuration.Given | None]:
    """(daemon.json, what it sets); None where there is none and none was named."""
    path = Path(flags.get("config-file", configuration.DEFAULT_FILE))
    try:
        text = path.read_text()
    except FileNotFoundError:
        if "config-file" in flags:
            raise configuration.file_error(path, f"open {path}: no such file or directory") from None
        return path, None
    except (OSError, UnicodeDecodeError) as error:
        raise configuration.file_error(path, str(error)) from None
    return path, configuration.from_file(path, text)


# -- running -----------------------------------------------------------------------------------------
async def _run(settings: Settings, flags: configuration.Given) -> int:
    began = time.monotonic()
    with _without_certificates():
        import aiohttp  # noqa: F401
    from sampan.api import listeners as listening
    from sampan.engine import Engine, check_free

    # Before the sockets: "the data root is in use" says more than "somebody listens there".
    check_free(settings)
    _check_pidfile(settings.pidfile)
    stacks.dump_on_signal(settings.exec_root)
    context = listening.tls(settings) if settings.encrypted else None
    listeners = listening.listen(settings)
    try:
        # Listening already: a client that comes now waits for its answer instead of being refused.
        engine = await Engine.open(settings)
    except BaseException:
        for listener in listeners:
            listener.remove()
            listener.socket.close()
        raise
    from sampan.api.server import Api

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_unexpected)
    api = Api(engine)
    stop = asyncio.Event()
    servers: list[asyncio.Server] = []
    registry = contextlib.AsyncExitStack()
    try:
        if settings.metrics_addr:
            await registry.enter_async_context(_metrics(settings, engine))
        if settings.registry:
            await registry.enter_async_context(_registry(settings, engine))
        for listener in listeners:
            secure = context if listener.encrypted else None
            # Not create_unix_server: since Python 3.13 that removes the socket at the end, systemd's too.
            servers.append(await loop.create_server(api.server, sock=listener.socket, ssl=secure, backlog=_AT_ONCE))
            listener.socket.listen(listening.BACKLOG)
        settings.pidfile.parent.mkdir(parents=True, exist_ok=True)
        settings.pidfile.write_text(str(os.getpid()))
        _watch_signals(loop, stop)
        loop.add_signal_handler(signal.SIGHUP, _reload, engine, flags)
        gc.collect()
        gc.freeze()
        log.info("API listen on %s", ", ".join(listening.describe(listeners)))
        log.info("Daemon has completed initialization in %d ms", (time.monotonic() - began) * 1000)
        _notify("READY=1")
        trimming = asyncio.ensure_future(_return_memory(api))
        await stop.wait()
        trimming.cancel()
        _notify("STOPPING=1")
        log.info("Processing signal 'terminated': containers go on running")
    finally:
        await registry.aclose()
        await _shut_down(api, servers, listeners, settings)
        await engine.close()
        _remove_pidfile(settings.pidfile)
    log.info("Daemon shutdown complete")
    return 0


def _registry(settings: Settings, engine: Engine) -> Serving:
    """The built-in registry, on the engine's content store."""
    from sampan.registry.engine import EngineStorage
    from sampan.registry.options import Options
    from sampan.registry.serving import Serving

    options = Options(
        address=settings.registry,
        htpasswd=settings.registry_htpasswd,
        tlscert=settings.registry_tlscert,
        tlskey=settings.registry_tlskey,
    )
    log.info("Registry listens on %s", settings.registry)
    return Serving(options, EngineStorage(engine.images.holdings, engine.linked))


def _metrics(settings: Settings, engine: Engine) -> Metrics:
    from sampan.api.metrics import Metrics

    log.info("Metrics are at http://%s/metrics", settings.metrics_addr)
    return Metrics(settings.metrics_addr, engine)


@contextlib.contextmanager
def _without_certificates() -> Iterator[None]:
    """aiohttp reads all of the host's CA certificates when it is imported: 40 ms and 2 MiB for a context that is never
    used, because `images.remote` makes its own for each registry."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def _shut_down(api: Api, servers: list[asyncio.Server], listeners: list[Listener], settings: Settings) -> None:
    for server in servers:
        server.close()
    for listener in listeners:
        listener.remove()
    await api.close(settings.shutdown_timeout)


def _watch_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def terminate() -> None:
        if stop.is_set():
            log.warning("Forcing the shutdown: asked twice")
            os._exit(1)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, terminate)


def _reload(engine: Engine, flags: configuration.Given) -> None:
    """SIGHUP: what dockerd reloads, and the log level. A file that cannot be meant changes nothing."""
    path = Path(flags.get("config-file", configuration.DEFAULT_FILE))
    log.info("Got signal to reload configuration, reloading from: %s", path)
    try:
        path, file = _file(flags)
        engine.reload(configuration.reloaded(_settable(flags), file or {}, path, engine.settings))
    except (ConfigurationError, SampanError) as error:
        log.error("%s", error)
        return
    _set_level(engine.settings)
    log.info("Reloaded configuration: %s", configuration.effective(engine.settings))


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    log.error("%s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None)


def _check_pidfile(path: Path) -> None:
    """Raises `Conflict` when it is another running daemon's."""
    try:
        pid = int(path.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:3]
    except (OSError, ValueError):
        return
    if pid != os.getpid() and any(word.endswith((b"sampand", b"sampan.daemon")) for word in words):
        raise Conflict(f"process with PID {pid} is still running: the pid file {path} is another sampand's")


def _remove_pidfile(path: Path) -> None:
    try:
        if path.read_text().strip() == str(os.getpid()):
            path.unlink()
    except OSError:
        pass


def _notify(state: str) -> None:
    """sd_notify(3): tells systemd, if it asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made:
        try:
            made.connect("\0" + address[1:] if address[0] == "@" else address)
            made.send(state.encode())
        except OSError as error:
            log.warning("systemd could not be told %s: %s", state, error)


def _allow_many_files() -> None:
    """Each attached client and each container costs descriptors; a login shell's 1024 are few. Containers that set no
    `--ulimit nofile` inherit the limit, as Docker's do: without bound it would cost programs that close every
    possible descriptor minutes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# -- memory ------------------------------------------------------------------------------------------
def _tune_memory() -> None:
    """One arena of malloc for all threads: with one a thread, glibc keeps megabytes that nobody uses. Small
    thresholds give freed memory back to the kernel soon."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 10)
        libc.mallopt(_M_MMAP_THRESHOLD, 256 << 10)


async def _return_memory(api: Api) -> None:
    """After work, what malloc holds free goes back to the kernel."""
    libc = ctypes.CDLL(None)
    trim = getattr(libc, "malloc_trim", None)
    seen = -1
    while trim is not None:
        await asyncio.sleep(_TRIM_AFTER)
        count = api.server.requests_count
        if count != seen:
            trim(0)
        seen = count


# -- logging -----------------------------------------------------------------------------------------
class _Formatter(logging.Formatter):
    """dockerd's lines: time="…" level=info msg="…"."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        line = f'time="{_moment(record)}" level={_NAMES.get(record.levelno, "error")} msg="{message}"'
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _JSONFormatter(logging.Formatter):
    """dockerd's with --log-format json."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        level = _NAMES.get(record.levelno, "error")
        return json.dumps({"level": level, "msg": text, "time": _moment(record)}, separators=(",", ":"))


def _moment(record: logging.LogRecord) -> str:
    seconds = int(record.created)
    fraction = int((record.created - seconds) * 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"


def _use_proxies(settings: Settings) -> None:
    """Before anything is fetched: aiohttp takes them from the environment, and so do the programs we start."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        if value := getattr(settings, name):
            os.environ[name] = os.environ[name.upper()] = value


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSONFormatter() if settings.log_format == "json" else _Formatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    _set_level(settings)


def _set_level(settings: Settings) -> None:
    level = logging.DEBUG if settings.debug else _LEVELS.get(settings.log_level, logging.CRITICAL)
    log.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
