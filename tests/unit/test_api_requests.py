"""Requests to the API: versions, routes, bodies, errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sampan.api.handlers.builds import kept
from sampan.errors import Conflict
from support.fake_engine import Served


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Served]:
    async with Served() as served:
        yield served


def message(body: bytes) -> str:
    return str(json.loads(body)["message"])


async def test_ping_says_what_is_spoken(api: Served) -> None:
    status, headers, body = await api.ask("GET", "/_ping")
    assert (status, body) == (200, b"OK")
    assert headers["api-version"] == "1.51"
    assert headers["ostype"] == "linux"
    assert headers["server"].startswith("Sampan/")
    status, headers, body = await api.ask("HEAD", "/_ping")
    assert (status, body, headers["api-version"]) == (200, b"", "1.51")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1.99/version", "client version 1.99 is too new. Maximum supported API version is 1.51"),
        (
            "/v1.12/version",
            "client version 1.12 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
    ],
)
async def test_versions_outside_the_range_are_refused(api: Served, path: str, expected: str) -> None:
    status, headers, body = await api.ask("GET", path)
    assert (status, message(body)) == (400, expected)
    assert headers["api-version"] == "1.51"


@pytest.mark.parametrize("path", ["/nope", "/v1.40/nope", "/vx/info", "/containers", "/v1.40"])
async def test_unknown_routes_are_dockers_404(api: Served, path: str) -> None:
    assert (await api.ask("GET", path))[::2] == (404, b'{"message":"page not found"}\n')
    assert (await api.ask("DELETE", "/v1.40/_ping"))[0] == 404


async def test_doubled_slashes_redirect(api: Served) -> None:
    status, headers, _ = await api.ask("GET", "/containers//json?all=1")
    assert (status, headers["location"]) == (301, "/containers/json?all=1")


async def test_errors_carry_their_status_and_message(api: Served) -> None:
    assert (await api.ask("GET", "/containers/nope/json"))[::2] == (404, b'{"message":"No such container: nope"}\n')
    api.engine.containers.failure = Conflict("in use")
    status, _, body = await api.ask("POST", "/containers/create", b'{"Image":"x"}')
    assert (status, message(body)) == (409, "in use")


async def test_what_is_no_domain_error_is_a_500(api: Served, caplog: pytest.LogCaptureFixture) -> None:
    api.engine.containers.failure = ZeroDivisionError("bug")
    status, _, body = await api.ask("POST", "/containers/create", b'{"Image":"x"}')
    assert (status, message(body)) == (500, "bug")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"x", "invalid JSON: invalid character 'x' looking for beginning of value"),
        (b'{"a"', "invalid JSON: unexpected EOF"),
        (b'{"a":1} x', "unexpected content after JSON"),
        (b'{"a":tru}', "invalid JSON: invalid character '}' in literal true (expecting 'e')"),
        (b'{"a" 1}', "invalid JSON: invalid character '1' after object key"),
        (b'{"a":1,}', "invalid JSON: invalid character '}' looking for beginning of object key string"),
        (b"[1 2]", "invalid JSON: invalid character '2' after array element"),
        (b"[]", "invalid JSON: json: cannot unmarshal array into Go value of type container.CreateRequest"),
        (b"[" * 100_000, "invalid JSON: exceeded max depth"),
        (b"null", "config cannot be empty in order to create a container"),
        (
            b'{"Image":"b","HostConfig":{"Memory":"x"}}',
            "invalid JSON: json: cannot unmarshal string into Go struct field "
            "HostConfig.HostConfig.Resources.Memory of type int64",
        ),
        (
            b'{"Image":"b","HostConfig":{"PidsLimit":1.5}}',
            "invalid JSON: json: cannot unmarshal number 1.5 into Go struct field "
            "HostConfig.HostConfig.Resources.PidsLimit of type int64",
        ),
        (
            b'{"Image":"b","HostConfig":{"Memory":99999999999999999999}}',
            "invalid JSON: json: cannot unmarshal number 99999999999999999999 into Go struct field "
            "HostConfig.HostConfig.Resources.Memory of type int64",
        ),
        (
            b'{"Image":1}',
            "invalid JSON: json: cannot unmarshal number into Go struct field "
            "CreateRequest.Config.Image of type string",
        ),
        (
            b'{"Image":"b","HostConfig":{"PortBindings":{"80/tcp":"x"}}}',
            "invalid JSON: json: cannot unmarshal string into Go struct field "
            "HostConfig.HostConfig.PortBindings of type []nat.PortBinding",
        ),
        (
            b'{"Image":"b","HostConfig":{"Mounts":[{"BindOptions":{"NonRecursive":1}}]}}',
            "invalid JSON: json: cannot unmarshal number into Go struct field "
            "BindOptions.HostConfig.Mounts.BindOptions.NonRecursive of type bool",
        ),
        (
            b'{"Image":"b","HostConfig":"x"}',
            "invalid JSON: json: cannot unmarshal string into Go struct field "
            "HostConfig.HostConfig of type container.HostConfig",
        ),
    ],
)
async def test_bad_bodies_are_refused_in_gos_words(api: Served, body: bytes, expected: str) -> None:
    status, _, answer = await api.ask("POST", "/containers/create", body)
    assert (status, message(answer)) == (400, expected)
    assert not api.engine.containers.created


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/plain", "unsupported Content-Type header (text/plain): must be 'application/json'"),
        ("", "malformed Content-Type header (): mime: no media type"),
    ],
)
async def test_the_content_type_must_be_json(api: Served, content_type: str, expected: str) -> None:
    status, _, body = await api.ask("POST", "/containers/create", b"{}", Content_Type=content_type)
    assert (status, message(body)) == (400, expected)


async def test_keys_match_in_any_case_and_null_leaves_the_default(api: Served) -> None:
    body = b'{"image":"busybox","CMD":"true","Unknown":1,"hostConfig":{"MEMORY":5,"Binds":null,"CapAdd":[null]}}'
    assert (await api.ask("POST", "/v1.44/containers/create?name=n", body))[0] == 201
    name, config, host, _, platform = api.engine.containers.created[0]
    assert (name, config.image, config.cmd, platform) == ("n", "busybox", ["true"], None)
    assert (host.memory, host.binds, host.cap_add, host.network_mode) == (5, None, [""], "bridge")


async def test_old_clients_mean_what_they_always_meant(api: Served) -> None:
    body = b'{"Image":"b","MacAddress":"02:00:00:00:00:01","HostConfig":{"AutoRemove":true}}'
    await api.ask("POST", "/v1.24/containers/create", body)
    await api.ask("POST", "/v1.43/containers/create", body)
    old, newer = api.engine.containers.created
    assert (old[2].auto_remove, old[2].ipc_mode) == (False, "shareable")
    assert (newer[2].auto_remove, newer[2].ipc_mode) == (True, "")
    assert newer[3].endpoints_config["bridge"].mac_address == "02:00:00:00:00:01"


async def test_a_huge_header_is_refused_and_the_server_lives(api: Served) -> None:
    status, _, _ = await api.ask("GET", "/_ping", X_Big="a" * 200_000)
    assert status in (400, 431)
    assert (await api.ask("GET", "/_ping"))[0] == 200


async def test_an_oversized_json_body_is_refused(api: Served) -> None:
    reader, writer = await api.connect()
    writer.write(
        b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99999999999\r\n\r\n{"
    )
    assert b"http: request body too large" in await reader.readuntil(b"}")
    writer.close()


@pytest.mark.parametrize(
    ("query", "status", "expected"),
    [
        ('filters={"x":["y"]}', 400, "invalid filter 'x'"),
        ("filters=xx", 400, "invalid filter"),
        ('filters={"exited":["y"]}', 400, "invalid filter 'exited=y': strconv.Atoi: parsing \"y\": invalid syntax"),
        ('filters={"is-task":["y"]}', 400, "invalid filter 'is-task=[y]'"),
        ('filters={"before":["y"]}', 404, "No such container: y"),
        ("filters=%zz", 400, 'invalid URL escape "%zz"'),
        ("limit=x", 400, 'strconv.Atoi: parsing "x": invalid syntax'),
    ],
)
async def test_bad_list_parameters(api: Served, query: str, status: int, expected: str) -> None:
    got, _, body = await api.ask("GET", f"/containers/json?{query}")
    assert (got, message(body)) == (status, expected)


async def test_swarm_needs_a_swarm(api: Served) -> None:
    for path in ("/services", "/nodes/x", "/swarm", "/secrets", "/configs", "/tasks"):
        status, _, body = await api.ask("GET", path)
        assert status == 503
        assert message(body).startswith('This node is not a swarm manager. Use "docker swarm init"')


async def test_names_with_slashes_reach_the_handler(api: Served) -> None:
    status, _, body = await api.ask("GET", "/images/127.0.0.1:5000/a/b/json")
    assert (status, message(body)) == (404, "No such image: 127.0.0.1:5000/a/b:latest")


async def test_a_client_that_leaves_mid_request_is_no_error(api: Served, caplog: pytest.LogCaptureFixture) -> None:
    _, writer = await api.connect()
    writer.write(
        b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"Image'
    )
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(0.05)
    assert (await api.ask("GET", "/_ping"))[0] == 200
    assert "Traceback" not in caplog.text
    assert not api.engine.containers.created


@pytest.mark.parametrize(
    ("asked", "stays"),
    [
        ({"reserved": 0}, 0),
        ({"reserved": 30}, 30),
        ({"reserved": 30, "most": 80}, 80),
        ({"reserved": 0, "most": 80, "least_free": 15}, 80),  # 20 are free
        ({"reserved": 0, "most": 80, "least_free": 70}, 50),
        ({"reserved": 60, "most": 80, "least_free": 70}, 60),
        ({"reserved": 0, "least_free": 15}, 100),
        ({"reserved": 0, "least_free": 500}, 0),
    ],
)
def test_how_much_of_the_build_cache_a_prune_leaves(asked: dict[str, int], stays: int) -> None:
    assert kept(100, 20, **asked) == stays
