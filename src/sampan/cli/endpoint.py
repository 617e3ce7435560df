"""Where the daemon is: parsing of `-H`/`DOCKER_HOST` addresses and the TLS settings that go with them."""

from __future__ import annotations

import os

from sampan.golang import quote

from .errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .flags import Flags


class Endpoint:
    """An address to connect to. `kind` is "unix" (then `path`) or "tcp" (then `name`, `port`)."""

    __slots__ = ("ca", "cert", "key", "kind", "name", "path", "port", "prefix", "text", "tls", "verify")

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        self.path = ""
        self.name = ""
        self.port = 0
        self.prefix = ""
        """A path before every request's own, from tcp://host:port/prefix."""
        self.tls = False
        self.verify = False
        self.ca = ""
        self.cert = ""
        self.key = ""


def _refused(reason: str) -> CliError:
    return CliError(f"Failed to initialize: unable to resolve docker endpoint: {reason}")


def endpoint(host: str, flags: Flags, config_dir: str) -> Endpoint:
    """Parse an address as docker does; raises `CliError` with its words."""
    host = host.strip()
    protocol, separator, rest = host.partition("://")
    if not separator:
        protocol, rest = "tcp", host
    if protocol == "unix":
        found = Endpoint("unix", f"unix://{rest}")
        found.path = rest or "/run/sampan/sampan.sock"
        return found
    if protocol == "ssh":
        raise _refused("ssh:// is not supported by sampan; forward the socket with ssh -L and use unix://")
    if protocol != "tcp":
        raise _refused(f"invalid bind address format: {host}")
    return _tcp(rest, flags, config_dir)


def _tcp(rest: str, flags: Flags, config_dir: str) -> Endpoint:
    verify = flags.yes("tlsverify") if flags.changed("tlsverify") else bool(os.environ.get("DOCKER_TLS_VERIFY"))
    tls = verify or flags.yes("tls") or flags.changed("tlsverify") or bool(os.environ.get("DOCKER_TLS"))
    address, slash, prefix = rest.partition("/")
    name, port = _split_port(address)
    if port and not port.isdigit():
        raise _refused(f"parse {quote('tcp://' + rest)}: invalid port {quote(':' + port)} after host")
    found = Endpoint("tcp", "")
    found.name = name or "localhost"
    found.port = int(port) if port else (2376 if tls else 2375)
    found.prefix = (slash + prefix).rstrip("/")
    found.tls = tls
    found.verify = verify
    shown = f"[{found.name}]" if ":" in found.name else found.name
    found.text = f"tcp://{shown}:{found.port}{found.prefix}"
    if tls:
        certs = os.environ.get("DOCKER_CERT_PATH") or config_dir
        found.ca = flags.text("tlscacert") or f"{certs}/ca.pem"
        found.cert = _certificate(flags, "tlscert", f"{certs}/cert.pem")
        found.key = _certificate(flags, "tlskey", f"{certs}/key.pem")
    return found


def _split_port(address: str) -> tuple[str, str]:
    if address.startswith("["):
        name, _, port = address[1:].partition("]")
        return name, port.lstrip(":")
    name, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    return name, port


def _certificate(flags: Flags, flag: str, default: str) -> str:
    """The file named by the flag; the default only where it exists, as docker does."""
    if flags.changed(flag):
        return flags.text(flag)
    return default if os.path.exists(default) else ""
