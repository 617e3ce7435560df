"""Credentials and challenges: pure functions and values. Sources: RFC 9110 (11.6), distribution "Token
Authentication".
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?=\s|,|$)")
_PARAMETER = re.compile(rf'\s*,?\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Decoded `X-Registry-Auth`."""

    username: str = ""
    password: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""
    offline: bool = False
    """Ask the token server for an identity token too, to be kept instead of the password (a login)."""

    @property
    def basic(self) -> str:
        """The value of a Basic `Authorization` header; "" without a user name."""
        if not self.username:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def challenges(headers: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Every (scheme in lower case, parameters) of `WWW-Authenticate`, in order."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        position = 0
        while scheme := _SCHEME.match(header, position):
            parameters: dict[str, str] = {}
            position = scheme.end()
            while parameter := _PARAMETER.match(header, position):
                value = parameter[2] if parameter[2] is not None else parameter[3]
                parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", value)
                position = parameter.end()
            found.append((scheme[1].lower(), parameters))
    return found
