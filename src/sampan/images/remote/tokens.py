"""What a 401 asks for: Basic credentials, or a token from the server the challenge names. Tokens are kept while they
live.

Sources: distribution "Token Authentication Specification", "OAuth2 Token Authentication".
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from sampan.errors import SampanError, Unauthorized
from sampan.images.remote import failures, wire
from sampan.images.remote.auth import RegistryAuth
from sampan.images.remote.hosts import Endpoint, Hosts

if TYPE_CHECKING:
    from aiohttp import ClientSession


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that was answered with 401. `scope` is used where the challenge names none."""

    endpoint: Endpoint
    scope: str
    method: str
    url: str


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: int = 60


_CLIENT = "sampan"
_Key = tuple[str, str, str, str]


class Tokens:
    """All tokens of the daemon, by (realm, service, scope, whose): nobody gets what others' credentials fetched."""

    def __init__(self, session: Callable[[], ClientSession], hosts: Hosts) -> None:
        self._session, self._hosts = session, hosts
        self._known: dict[_Key, tuple[str, float]] = {}
        self._identities: dict[str, str] = {}

    def identity(self, auth: RegistryAuth) -> str:
        """The identity token that a server gave for these credentials, once; "" when it gives none."""
        return self._identities.pop(_whose(auth), "")

    async def answer(
        self, offered: list[tuple[str, dict[str, str]]], asked: Asked, auth: RegistryAuth | None, used: str
    ) -> str:
        """The `Authorization` that a challenge wants; "" when there is nothing to answer with. `used` was refused."""
        for scheme, parameters in offered:
            if scheme == "bearer" and parameters.get("realm"):
                return f"Bearer {await self._token(parameters, asked, auth, used)}"
        if any(scheme == "basic" for scheme, _ in offered):
            if auth is None or not auth.basic:
                where = "" if "push" in asked.scope else f'{asked.method.capitalize()} "{asked.url}": '
                raise Unauthorized(f"{where}no basic auth credentials")
            return auth.basic
        return ""

    async def _token(self, parameters: Mapping[str, str], asked: Asked, auth: RegistryAuth | None, used: str) -> str:
        realm, service = parameters["realm"], parameters.get("service", "")
        if not realm.startswith("https://") and not (realm.startswith("http://") and asked.endpoint.insecure):
            raise SampanError(f"{asked.endpoint.host} asks to send credentials to {realm[:200]}, which is not https")
        scope = parameters.get("scope") or asked.scope
        key = (realm, service, scope, _whose(auth))
        known = self._known.get(key)
        if auth is not None and auth.offline:
            known = None
        if known is not None and known[1] > time.monotonic() and used != f"Bearer {known[0]}":
            return known[0]
        token = await self._fetch(asked.endpoint, realm, {"service": service, "scope": scope}, auth)
        value = token.token or token.access_token
        if not value:
            raise Unauthorized(f"authorization server {realm} did not include a token in the response")
        if auth is not None and auth.offline and token.refresh_token:
            self._identities[_whose(auth)] = token.refresh_token
        # The minimum life that clients may assume is 60 s; renewed a little early.
        self._known[key] = (value, time.monotonic() + max(token.expires_in, 60) * 0.9)
        return value

    async def _fetch(self, endpoint: Endpoint, realm: str, query: dict[str, str], auth: RegistryAuth | None) -> _Token:
        context: Any = self._hosts.public if realm.startswith("https:") else True
        if realm.startswith("https:") and (endpoint.insecure or wire.origin(realm) == wire.origin(endpoint.base)):
            context = self._hosts.context(endpoint)
        if auth is not None and auth.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": auth.identity_token, "client_id": _CLIENT, **query}
            request = self._session().post(realm, data=form, ssl=context, allow_redirects=False)
        else:
            headers = {}
            if auth is not None and auth.offline:
                query |= {"offline_token": "true", "client_id": _CLIENT}
            if auth is not None and auth.basic:
                query["account"] = auth.username
                headers["Authorization"] = auth.basic
            target = realm + ("&" if "?" in realm else "?") + urlencode({k: v for k, v in query.items() if v})
            request = self._session().get(target, headers=headers, ssl=context, allow_redirects=False)
        try:
            async with request as response:
                body = await wire.read(response, 1 << 20, "token")
                if response.status >= 300:
                    raise _refusal(response.status, body, endpoint, realm, auth)
                return msgspec.json.decode(body, type=_Token)
        except msgspec.DecodeError:
            raise SampanError(f"authorization server {realm} did not answer with a token") from None
        except wire.lost() as error:
            raise failures.on_connection(error, realm) from None


def _whose(auth: RegistryAuth | None) -> str:
    if auth is None:
        return ""
    secret = "\0".join((auth.username, auth.password, auth.identity_token))
    return hashlib.sha256(secret.encode()).hexdigest()


def _refusal(status: int, body: bytes, endpoint: Endpoint, realm: str, auth: RegistryAuth | None) -> SampanError:
    error = failures.from_response(status, body, [])
    if status not in (401, 403):
        return error
    if auth is not None:
        return Unauthorized(f'Get "{endpoint.base}/v2/": unauthorized: incorrect username or password')
    return Unauthorized(f"{realm}: {error.message}")
