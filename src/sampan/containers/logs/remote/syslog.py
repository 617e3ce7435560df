"""syslog: RFC 3164, RFC 5424, and the local daemon's own form; over unix, udp, tcp and TLS (RFC 5425 frames)."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from sampan.containers.logs.remote.destination import Pauses
from sampan.containers.logs.remote.identity import Identity
from sampan.containers.logs.remote.links import DatagramLink, DialError, StreamLink, words
from sampan.containers.logs.remote.messages import Message
from sampan.containers.streams import STDERR
from sampan.errors import InvalidParameter, SampanError

OPTIONS = frozenset(
    {
        "syslog-address",
        "syslog-facility",
        "syslog-format",
        "syslog-tls-ca-cert",
        "syslog-tls-cert",
        "syslog-tls-key",
        "syslog-tls-skip-verify",
        "tag",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
    }
)
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("-", "-", "-", "-"),
    *(f"local{number}" for number in range(8)),
)
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_LOCAL = ("/dev/log", "/var/run/syslog", "/var/run/log")
_ERR, _INFO = 3, 6


def check(options: dict[str, str]) -> None:
    """Raises `InvalidParameter`."""
    _address(options.get("syslog-address", ""))
    _facility(options.get("syslog-facility", ""))
    if options.get("syslog-format", "") not in _FORMATS:
        raise InvalidParameter("Invalid syslog format")


def _address(text: str) -> tuple[str, str | tuple[str, int]]:
    """(scheme, path or host and port); ("", "") for the local daemon."""
    if not text:
        return "", ""
    url = urlsplit(text)
    if url.scheme in ("unix", "unixgram"):
        try:
            os.stat(url.path)  # noqa: PTH116 - its words
        except OSError as error:
            raise InvalidParameter(f"stat {url.path}: {words(error)}") from None
        return url.scheme, url.path
    if url.scheme not in ("udp", "tcp", "tcp+tls"):
        raise InvalidParameter(f"unsupported scheme: '{url.scheme}'")
    try:
        return url.scheme, (url.hostname or "", url.port or 514)
    except ValueError as error:
        raise InvalidParameter(f"invalid syslog-address {text}: {error}") from None


def _facility(text: str) -> int:
    if not text:
        return _FACILITIES.index("daemon")
    if text in _FACILITIES and text != "-":
        return _FACILITIES.index(text)
    if text.isdecimal() and int(text) <= 23:
        return int(text)
    raise InvalidParameter("invalid syslog facility")


class Syslog:
    eager = True
    batch = 128

    def __init__(self, identity: Identity) -> None:
        options = identity.options
        self.pauses = Pauses()
        scheme, address = _address(options.get("syslog-address", ""))
        self._links: list[StreamLink | DatagramLink]
        match scheme:
            case "":
                self._links = [link for path in _LOCAL for link in (DatagramLink(path), StreamLink(path))]
            case "unix":
                # /dev/log is a datagram socket, which dockerd wants called unixgram.
                assert isinstance(address, str)
                self._links = [StreamLink(address), DatagramLink(address)]
            case "udp" | "unixgram":
                self._links = [DatagramLink(address)]
            case _:
                self._links = [StreamLink(address, _context(options) if scheme == "tcp+tls" else None)]
        self._link = self._links[0]
        self._local = scheme == ""
        self._facility = _facility(options.get("syslog-facility", "")) << 3
        self._line = _format(options.get("syslog-format", ""), identity.tag(), identity.host)
        self._counted = scheme == "tcp+tls" and options.get("syslog-format", "").startswith("rfc5424")

    @property
    def connected(self) -> bool:
        return self._link.connected

    async def connect(self) -> None:
        failed: DialError | None = None
        for link in self._links:
            try:
                await link.connect()
            except DialError as error:
                failed = failed or error
            else:
                self._link = link
                return
        assert failed is not None
        raise DialError("Unix syslog delivery error") if self._local else failed

    async def send(self, messages: Sequence[Message]) -> None:
        lines = [self._one(message) for message in messages if message.text]
        if isinstance(self._link, StreamLink):
            if lines:
                await self._link.send(b"".join(lines))
            return
        for line in lines:
            await self._link.send(line)

    def _one(self, message: Message) -> bytes:
        priority = self._facility | (_ERR if message.stream == STDERR else _INFO)
        line = self._line(priority, message) + message.text + b"\n"
        return b"%d %b" % (len(line), line) if self._counted else line

    def close(self) -> None:
        self._link.close()


def _context(options: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("syslog-tls-ca-cert") or None)
        if certificate := options.get("syslog-tls-cert"):
            context.load_cert_chain(certificate, options.get("syslog-tls-key") or None)
    except OSError as error:
        names = (options.get(f"syslog-tls-{name}", "") for name in ("ca-cert", "cert", "key"))
        raise SampanError(
            f"could not read the TLS certificates {', '.join(filter(None, names))}: {words(error)}"
        ) from None
    if "syslog-tls-skip-verify" in options:  # given at all, as in dockerd
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _format(name: str, tag: str, host: str) -> Callable[[int, Message], bytes]:
    """What comes before a message's text. Unlike dockerd's, the time is the line's, not that of sending."""
    pid = os.getpid()
    if name.startswith("rfc5424"):
        micro = name.endswith("micro")

        def rfc5424(priority: int, message: Message) -> bytes:
            seconds, rest = divmod(message.time, 10**9)
            moment = time.localtime(seconds)
            fraction = f".{rest // 1000:06d}" if micro else ""
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}{fraction}{_zone(moment.tm_gmtoff)}"
            return f"<{priority}>1 {stamp} {host} {tag} {pid} {tag} - ".encode()

        return rfc5424
    origin = f"{host} {tag}" if name else tag

    def rfc3164(priority: int, message: Message) -> bytes:
        moment = time.localtime(message.time // 10**9)
        stamp = f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2d} {moment.tm_hour:02d}:{moment.tm_min:02d}"
        return f"<{priority}>{stamp}:{moment.tm_sec:02d} {origin}[{pid}]: ".encode()

    return rfc3164


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _zone(offset: int) -> str:
    """RFC 3339's."""
    if not offset:
        return "Z"
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{'-' if offset < 0 else '+'}{hours:02d}:{minutes:02d}"
