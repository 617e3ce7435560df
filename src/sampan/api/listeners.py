"""Where the API is listened for: unix sockets, tcp with TLS, sockets handed over by systemd."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.errors import Conflict, InvalidParameter, SampanError
from sampan.settings import Settings

if TYPE_CHECKING:
    import ssl

BACKLOG = 4096
"""Connections that wait to be accepted, as many as Go's listeners allow. Whoever serves must say it to asyncio, too,
which calls listen(2) again."""
_FIRST_PASSED = 3
"""sd_listen_fds(3): passed descriptors start here."""
_PLAIN_PORT, _TLS_PORT = 2375, 2376


@dataclass(slots=True)
class Listener:
    """A listening socket. `path` and `inode` are set for a unix socket of our own, which is removed at the end."""

    host: str
    socket: socket.socket
    encrypted: bool = False
    path: Path | None = None
    inode: int = 0

    def remove(self) -> None:
        """Takes the socket file away, unless another daemon has put its own there."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                if self.path.lstat().st_ino == self.inode:
                    self.path.unlink()


def listen(settings: Settings) -> list[Listener]:
    """All of `settings.hosts`, or none: what was opened is closed again when one fails."""
    listeners: list[Listener] = []
    try:
        for host in settings.hosts:
            scheme, _, rest = host.partition("://")
            if scheme == "unix":
                listeners.append(_unix(host, Path(rest), settings.group))
            elif scheme == "tcp":
                listeners += _tcp(host, rest, settings.encrypted)
            else:
                listeners += _passed(host, rest, settings.encrypted)
    except BaseException:
        for listener in listeners:
            listener.remove()
            listener.socket.close()
        raise
    return listeners


def _unix(host: str, path: Path, group: str) -> Listener:
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(host, path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # 0600 first: between bind and chown nobody else may connect.
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        except OSError as error:
            raise SampanError(f"failed to listen on {host}: {os.strerror(error.errno or 0)}") from None
        finally:
            os.umask(before)
        os.chown(path, 0, _group_id(group))
        path.chmod(0o660)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return Listener(host, made, path=path, inode=path.lstat().st_ino)


def _group_id(group: str) -> int:
    """The group's number; root's when there is no such group, so that the socket is never wider than meant."""
    try:
        return grp.getgrnam(group).gr_gid if group else 0
    except KeyError:
        return int(group) if group.isdigit() else 0


def _clear(host: str, path: Path) -> None:
    """Removes a socket that nobody listens on (a daemon was killed); refuses one that is alive, or a file that is no
    socket."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise Conflict(f"failed to listen on {host}: {path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            # A full backlog is a sign of life too.
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT):
                raise SampanError(f"failed to listen on {host}: {error}") from None
    raise Conflict(
        f"failed to listen on {host}: another daemon answers there; stop it, or give this one another --host"
    )


def _tcp(host: str, rest: str, encrypted: bool) -> list[Listener]:
    name, port = _address(host, rest, encrypted)
    listeners: list[Listener] = []
    try:
        found = socket.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SampanError(f"failed to listen on {host}: {error}") from None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        made = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(address)
            made.listen(BACKLOG)
            made.setblocking(False)
        except OSError as error:
            made.close()
            for listener in listeners:
                listener.socket.close()
            raise SampanError(f"failed to listen on {host}: {os.strerror(error.errno or 0)}") from None
        listeners.append(Listener(host, made, encrypted))
    return listeners


def _address(host: str, rest: str, encrypted: bool) -> tuple[str, int]:
    """(name, port) of "name:port", "[::1]:port", ":port"; Docker's ports are 2375, and 2376 with TLS."""
    rest = rest.rstrip("/")
    name, colon, port = rest.rpartition(":")
    if not colon or "]" in port:
        name, port = rest, str(_TLS_PORT if encrypted else _PLAIN_PORT)
    if not port.isdigit() or int(port) > 65535:
        raise InvalidParameter(f"invalid bind address ({host}): bad port")
    return name.strip("[]"), int(port)


def _passed(host: str, rest: str, encrypted: bool) -> list[Listener]:
    """Sockets from systemd: `fd://` all of them, `fd://NAME` those of one name, `fd://3` one. sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise SampanError(f"failed to listen on {host}: no sockets were passed by systemd")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    listeners = []
    for index in range(count):
        number = _FIRST_PASSED + index
        name = names[index] if index < len(names) else ""
        if rest not in ("", "*", str(number), name):
            continue
        passed = socket.socket(fileno=number)
        passed.set_inheritable(False)
        passed.setblocking(False)
        if passed.family != socket.AF_UNIX and not encrypted:
            raise SampanError(f"failed to listen on {host}: the socket passed by systemd is tcp, which needs TLS")
        listeners.append(Listener(host, passed, encrypted and passed.family != socket.AF_UNIX))
    if not listeners:
        raise SampanError(f"failed to listen on {host}: systemd passed no such socket")
    return listeners


def tls(settings: Settings) -> ssl.SSLContext:
    """The context of tcp://: our certificate, and with `tlsverify` only clients that the CA signed."""
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Python 3.13 wants extensions that certificates made after Docker's own instructions lack; dockerd takes those.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tlscert, settings.tlskey)
    except (OSError, ssl.SSLError) as error:
        raise SampanError(
            f"could not load X509 key pair (cert: {settings.tlscert!r}, key: {settings.tlskey!r}): {error}"
        ) from None
    if settings.tlsverify:
        try:
            context.load_verify_locations(settings.tlscacert)
        except (OSError, ssl.SSLError) as error:
            raise SampanError(f"could not read CA certificate {settings.tlscacert!r}: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def describe(listeners: Sequence[Listener]) -> list[str]:
    """For the log: one address a listener."""
    shown = []
    for listener in listeners:
        name = listener.socket.getsockname()
        shown.append(str(name) if isinstance(name, str) else f"{name[0]}:{name[1]}")
    return shown
