"""TCP and TLS connections to a daemon elsewhere. Apart, because `socket` and `ssl` are slow to import."""

from __future__ import annotations

import socket

from .errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .endpoint import Endpoint


def dial(where: Endpoint) -> socket.socket:
    """A connected socket, TLS done; OSError when nobody answers, `CliError` for bad certificates."""
    sock = socket.create_connection((where.name, where.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _secure(sock, where) if where.tls else sock


def _secure(sock: socket.socket, where: Endpoint) -> socket.socket:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not where.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if where.verify:
            if where.ca:
                context.load_verify_locations(where.ca)
            else:
                context.load_default_certs()
        if where.cert or where.key:
            context.load_cert_chain(where.cert, where.key)
    except (ssl.SSLError, OSError) as error:
        sock.close()
        raise CliError(
            f"Failed to initialize: unable to resolve docker endpoint: could not load X509 key pair: {error}"
        ) from None
    try:
        return context.wrap_socket(sock, server_hostname=where.name)
    except ssl.SSLError as error:
        sock.close()
        raise CliError(f"error during connect: {where.text}: tls: {error.reason or error}") from None


def half_close(sock: socket.socket) -> None:
    """End our direction only. `ssl` cannot send close_notify alone, so the TCP direction is closed below it."""
    import os

    below = socket.socket(fileno=os.dup(sock.fileno()))
    try:
        below.shutdown(socket.SHUT_WR)
    finally:
        below.close()
