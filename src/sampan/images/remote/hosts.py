"""Where a registry is asked: mirrors first, then the registry itself; https, and http only where that is allowed.

Rules as Docker's: loopback addresses and `localhost` are insecure by default, `insecure-registries` lists hosts
(`name[:port]`) and
networks (CIDR). An insecure registry is tried with https (certificate not checked) and then with plain http.
`allow-nondistributable-artifacts` is a list of the same kind: who is sent layers whose bytes live elsewhere.
Certificates: `<certs.d>/<host:port>/*.crt` (authorities), `*.cert` with `*.key` (client).
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sampan.errors import InvalidParameter, SampanError
from sampan.images.references import DEFAULT_DOMAIN

HUB = "registry-1.docker.io"
CERTS = (Path("/etc/sampan/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to ask. `base` has no trailing slash: `https://registry-1.docker.io`."""

    base: str
    insecure: bool = False
    mirror: bool = False

    @property
    def host(self) -> str:
        """host[:port]."""
        return self.base.partition("://")[2].partition("/")[0]

    @property
    def tls(self) -> bool:
        return self.base.startswith("https:")


class _Group:
    """Hosts (`name` or `name:port`) and networks."""

    def __init__(self, entries: Iterable[str]) -> None:
        self.networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self.names: set[str] = set()
        for entry in entries:
            entry = entry.removeprefix("http://").removeprefix("https://").rstrip("/")
            try:
                self.networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self.names.add(entry.lower())

    def __contains__(self, host: str) -> bool:
        name = _without_port(host).lower()
        if host.lower() in self.names or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self.networks if network.version == address.version)


class Hosts:
    """The daemon's registry configuration."""

    def __init__(
        self,
        insecure: Sequence[str] = (),
        mirrors: Sequence[str] = (),
        certificates: Sequence[Path] = CERTS,
        nondistributable: Sequence[str] = (),
    ) -> None:
        self._certificates = certificates
        self._contexts: dict[tuple[str, bool], tuple[list[tuple[Path, int]], ssl.SSLContext]] = {}
        self.configure(insecure, mirrors, nondistributable)

    def configure(self, insecure: Sequence[str], mirrors: Sequence[str], nondistributable: Sequence[str]) -> None:
        """From now on: also a reload's."""
        self._insecure = _Group(("127.0.0.0/8", "::1/128", "localhost", *insecure))
        self._nondistributable = _Group(nondistributable)
        self._mirrors = [_mirror(url) for url in mirrors]

    @property
    def mirrors(self) -> list[str]:
        """As `docker info` lists them, with a trailing slash."""
        return [f"{mirror}/" for mirror in self._mirrors]

    @property
    def insecure(self) -> tuple[list[str], list[str]]:
        """(CIDRs, host names), for `docker info`."""
        networks, names = self._insecure.networks, self._insecure.names
        return [str(network) for network in networks], sorted(names - {"localhost"})

    def is_insecure(self, host: str) -> bool:
        return host in self._insecure

    def takes_nondistributable(self, domain: str) -> bool:
        """May layers that say where else they can be had be pushed there?"""
        return (HUB if domain == DEFAULT_DOMAIN else domain) in self._nondistributable or domain in (
            self._nondistributable.names
        )

    def endpoints(self, domain: str, *, pull: bool = True) -> list[Endpoint]:
        """In the order to try. Mirrors serve Docker Hub only, and only pulls, as in Docker."""
        found: list[Endpoint] = []
        if domain == DEFAULT_DOMAIN and pull:
            for mirror in self._mirrors:
                host = mirror.partition("://")[2].partition("/")[0]
                found.append(Endpoint(mirror, insecure=self.is_insecure(host), mirror=True))
        host = HUB if domain == DEFAULT_DOMAIN else domain
        insecure = self.is_insecure(host)
        found.append(Endpoint(f"https://{host}", insecure))
        if insecure:
            found.append(Endpoint(f"http://{host}", insecure))
        return found

    def context(self, endpoint: Endpoint) -> ssl.SSLContext:
        """TLS for an endpoint, made once for each host and again when its certificates changed: like dockerd's, they
        can be put there while the daemon runs.
        """
        found = self._certificate_files(endpoint.host)
        key = (endpoint.host, endpoint.insecure)
        known = self._contexts.get(key)
        if known is None or known[0] != found:
            known = self._contexts[key] = found, self._make_context(endpoint, [path for path, _ in found])
        return known[1]

    def _certificate_files(self, host: str) -> list[tuple[Path, int]]:
        """(path, mtime) of what the first of the certs.d directories has for a host."""
        for root in self._certificates:
            try:
                paths = sorted((root / host).iterdir())
            except OSError:
                continue
            return [(path, path.stat().st_mtime_ns) for path in paths if path.is_file()]
        return []

    @cached_property
    def public(self) -> ssl.SSLContext:
        """TLS for everybody who is no registry of ours: token servers, what redirects lead to. Not aiohttp's own
        default, which the daemon makes without certificates.
        """
        return ssl.create_default_context()

    def _make_context(self, endpoint: Endpoint, certificates: Sequence[Path]) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if endpoint.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in certificates:
            _load_certificate(context, path)
        return context


def _load_certificate(context: ssl.SSLContext, path: Path) -> None:
    try:
        if path.suffix == ".crt":
            context.load_verify_locations(cafile=str(path))
        elif path.suffix == ".cert":
            key = path.with_suffix(".key")
            if not key.exists():
                raise SampanError(
                    f"missing key {key.name} for client certificate {path.name}. "
                    "CA certificates must use the extension .crt"
                )
            context.load_cert_chain(str(path), str(key))
        elif path.suffix == ".key" and not path.with_suffix(".cert").exists():
            raise SampanError(f"missing client certificate {path.with_suffix('.cert').name} for key {path.name}")
    except (ssl.SSLError, OSError) as error:
        raise SampanError(f"cannot use the certificate {path}: {error}") from None


def _mirror(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("http", "https") or not rest or "?" in rest or "#" in rest or "@" in rest:
        raise InvalidParameter(f'invalid mirror: "{url}" is not a valid URI of the form https://host[:port]')
    return f"{scheme}://{rest.rstrip('/')}"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
