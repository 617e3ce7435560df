"""TCP and TLS connections to a daemon elsewhere. Apart, because `socket` and `ssl` are slow to import.

TLS is done on memory buffers: `ssl.SSLSocket` can only end both directions at once, and the end of a container's stdin
has to end ours alone (a close_notify, RFC 8446 section 6.1) while its output still comes.
"""

from __future__ import annotations

import socket
import ssl

from .errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .endpoint import Endpoint


def dial(where: Endpoint) -> socket.socket | TlsSocket:
    """A connected socket, TLS done; OSError when nobody answers, `CliError` for bad certificates."""
    context = _context(where) if where.tls else None
    sock = socket.create_connection((where.name, where.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return sock
    try:
        return TlsSocket(sock, context, where.name)
    except ssl.SSLError as error:
        sock.close()
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise CliError(f"error during connect: {where.text}: tls: {reason}") from None


def _context(where: Endpoint) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not where.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        context.load_verify_locations(where.ca)
        if where.cert or where.key:
            context.load_cert_chain(where.cert, where.key)
    except FileNotFoundError:
        missing = next(name for name in (where.ca, where.cert, where.key) if not _readable(name))
        raise CliError(
            f"Failed to initialize: unable to resolve docker endpoint: open {missing}: no such file or directory"
        ) from None
    except (ssl.SSLError, OSError) as error:
        raise CliError(f"Failed to initialize: unable to resolve docker endpoint: {where.ca}: {error}") from None
    return context


def _readable(name: str) -> bool:
    try:
        with open(name, "rb"):
            return True
    except OSError:
        return False


class TlsSocket:
    """The part of a socket's interface that the client uses, over TLS; BlockingIOError as from a plain socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._unsent = b""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
        self._flush()

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def recv(self, size: int) -> bytes:
        """Decrypted bytes, b"" at the end of the stream."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def pending(self) -> int:
        """Bytes that can be read without the socket becoming readable."""
        return self._tls.pending() or self._incoming.pending

    def send(self, data: bytes) -> int:
        """Encrypt and send some of `data`; how much was taken."""
        self._flush()
        if self._unsent:
            raise BlockingIOError(11, "the connection takes no more now")
        taken = self._tls.write(data[: 1 << 16])
        self._flush()
        return taken

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.send(bytes(view[: 1 << 16])) :]

    def half_close(self) -> None:
        """End our direction; theirs stays open."""
        self._sock.setblocking(True)
        try:
            self._tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass  # their close_notify comes when they are through
        self._flush()
        self._sock.setblocking(False)

    def close(self) -> None:
        self._sock.close()

    def _feed(self) -> None:
        data = self._sock.recv(1 << 16)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                self._unsent = self._unsent[self._sock.send(self._unsent, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                return
