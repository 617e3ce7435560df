"""TLS to registries: whom the client believes, what it says when it does not, certificates of certs.d."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sampan.errors import SampanError
from sampan.images import references
from sampan.images.remote import Remote, Repository, wire
from sampan.images.remote.hosts import Endpoint, Hosts


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and what it signed: good, wrong (another host), expired, client; and one that signed itself."""
    place = tmp_path_factory.mktemp("keys")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=place)

    fresh = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*fresh, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    here = "subjectAltName=IP:127.0.0.1"
    openssl(*fresh, "-x509", "-subj", "/CN=self", "-addext", here, "-keyout", "self.key", "-out", "self.crt")
    for name, subject, days in (
        ("good", here, "2"),
        ("wrong", "subjectAltName=DNS:other.example", "2"),
        ("expired", here, "-1"),
        ("client", here, "2"),
    ):
        (place / "ext").write_text(subject)
        openssl(*fresh, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext")
        openssl(*signing, "-in", f"{name}.csr", "-days", days, "-out", f"{name}.crt")
    return place


@asynccontextmanager
async def serving(keys: Path, name: str, *, authority: Path | None = None) -> AsyncIterator[str]:
    """host:port of a registry with that certificate; with an `authority` it wants one of its clients too."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response({"tags": ["a"]})

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / f"{name}.crt", keys / f"{name}.key")
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Client:
    """Asks as if loopback addresses were not insecure by default."""

    def __init__(self, certificates: Path) -> None:
        self.certificates = certificates
        self.remote = Remote(Hosts(certificates=[certificates]), "test")

    async def tags(self, address: str, *, insecure: bool = False) -> list[str]:
        endpoint = Endpoint(f"https://{address}", insecure=insecure)
        return await Repository(self.remote, references.parse(f"{address}/x"), None, [endpoint]).tags()

    def trust(self, address: str, *files: Path) -> None:
        (self.certificates / address).mkdir(exist_ok=True)
        for file in files:
            name = file.with_suffix(".cert").name if file.name == "client.crt" else file.name
            (self.certificates / address / name).write_bytes(file.read_bytes())


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    async def none(tries: int) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(wire, "pause", none)
    client = Client(tmp_path)
    yield client
    await client.remote.close()


@pytest.mark.parametrize(
    ("name", "trusted", "said"),
    [
        ("good", False, "x509: certificate signed by unknown authority"),
        ("self", False, "x509: certificate signed by unknown authority"),
        ("wrong", True, "x509: IP address mismatch"),
        ("expired", True, "x509: certificate has expired or is not yet valid"),
    ],
)
async def test_a_registry_that_cannot_be_believed_is_told_why(
    keys: Path, client: Client, name: str, trusted: bool, said: str
) -> None:
    async with serving(keys, name) as address:
        if trusted:
            client.trust(address, keys / "ca.crt")
        with pytest.raises(SampanError) as caught:
            await client.tags(address)
        assert caught.value.message.startswith(
            f'Get "https://{address}/v2/": tls: failed to verify certificate: {said}'
        )
        assert await client.tags(address, insecure=True) == ["a"], "an insecure registry's certificate is not looked at"


async def test_an_authority_put_into_certs_d_is_believed_at_once(keys: Path, client: Client) -> None:
    async with serving(keys, "good") as address:
        with pytest.raises(SampanError, match="unknown authority"):
            await client.tags(address)
        client.trust(address, keys / "ca.crt")
        assert await client.tags(address) == ["a"]


async def test_a_client_certificate_is_shown_to_the_host_it_is_for(keys: Path, client: Client) -> None:
    async with serving(keys, "good", authority=keys / "ca.crt") as address:
        client.trust(address, keys / "ca.crt")
        with pytest.raises(SampanError, match=f'Get "https://{address}/v2/"'):
            await client.tags(address)
        client.trust(address, keys / "client.crt")
        with pytest.raises(SampanError, match=r"missing key client\.key for client certificate client\.cert"):
            await client.tags(address)
        client.trust(address, keys / "client.key")
        assert await client.tags(address) == ["a"]
