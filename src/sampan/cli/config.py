"""The person's `config.json` (docker's own file): formats, detach keys, headers, and credentials for registries."""

from __future__ import annotations

import os
import sys

from .wire import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB = "https://index.docker.io/v1/"
"""The key that Docker Hub's credentials are stored under."""


class Config:
    """`values` is the file's object; {} when there is no file."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    @classmethod
    def load(cls, directory: str) -> Config:
        """Read the file; one that cannot be read only warns, as docker does."""
        path = os.path.join(directory, "config.json")
        try:
            with open(path, "rb") as file:
                values = loads(file.read())
        except FileNotFoundError:
            return cls({})
        except (OSError, ValueError) as error:
            sys.stderr.write(f"WARNING: Error loading config file: {path}: {error}\n")
            return cls({})
        return cls(values if isinstance(values, dict) else {})

    def text(self, key: str) -> str:
        """A string setting ("psFormat", "detachKeys", …), "" when it is not there."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    @property
    def http_headers(self) -> dict[str, str]:
        found = self.values.get("HttpHeaders")
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def proxies(self, host: str) -> dict[str, str]:
        """Proxy variables for new containers, under the spellings docker sets (config key "proxies")."""
        known = self.values.get("proxies")
        if not isinstance(known, dict):
            return {}
        chosen = known.get(host) or known.get("default")
        if not isinstance(chosen, dict):
            return {}
        found: dict[str, str] = {}
        for key, name in (
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ):
            value = chosen.get(key)
            if value:
                found[name] = found[name.lower()] = str(value)
        return found

    def registry_auth(self, host: str) -> str:
        """The X-Registry-Auth header for a registry's host name ("docker.io", "127.0.0.1:5000")."""
        auth = self.credentials(host)
        from binascii import b2a_base64

        encoded = b2a_base64(dumps(auth).encode(), newline=False).decode()
        return encoded.replace("+", "-").replace("/", "_")

    def credentials(self, host: str) -> dict[str, str]:
        """An AuthConfig for a registry, {} when none is known: credential helper first, then "auths"."""
        server = HUB if host in ("docker.io", "index.docker.io", "") else host
        helper = self._helper(server)
        if helper:
            return _ask_helper(helper, server)
        auths = self.values.get("auths")
        if not isinstance(auths, dict):
            return {}
        found = auths.get(server)
        if found is None:
            found = next((value for key, value in auths.items() if _bare(str(key)) == server), None)
        return _decoded(found, server) if isinstance(found, dict) else {}

    def _helper(self, server: str) -> str:
        helpers = self.values.get("credHelpers")
        if isinstance(helpers, dict) and helpers.get(server):
            return str(helpers[server])
        return self.text("credsStore")


def _bare(key: str) -> str:
    """A stored key without scheme and path: old files hold "https://host/v1/"."""
    return key.removeprefix("https://").removeprefix("http://").split("/", 1)[0]


def _decoded(entry: dict[str, Any], server: str) -> dict[str, str]:
    found = {
        key: str(entry[key]) for key in ("username", "password", "identitytoken", "registrytoken") if entry.get(key)
    }
    if entry.get("auth"):
        from binascii import a2b_base64

        try:
            text = a2b_base64(str(entry["auth"])).decode("utf-8", "replace")
        except ValueError:
            sys.stderr.write(f"WARNING: the credentials kept for {server} are damaged: log in again\n")
            return {}
        name, _, password = text.partition(":")
        found["username"], found["password"] = name, password.rstrip("\0")
    if found:
        found["serveraddress"] = server
    return found


def _ask_helper(helper: str, server: str) -> dict[str, str]:
    """docker-credential-NAME get, the protocol of docker-credential-helpers; nothing found is no credentials."""
    import subprocess

    try:
        answer = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=server.encode(), capture_output=True, check=False
        )
    except OSError as error:
        sys.stderr.write(f"WARNING: Error getting credentials - err: {error}\n")
        return {}
    if answer.returncode != 0:
        if b"credentials not found" not in answer.stdout:
            text = (answer.stdout or answer.stderr).decode("utf-8", "replace").strip()
            sys.stderr.write(f"WARNING: Error getting credentials - err: {text}\n")
        return {}
    found = loads(answer.stdout)
    if found.get("Username") == "<token>":
        return {"identitytoken": str(found.get("Secret", "")), "serveraddress": server}
    return {
        "username": str(found.get("Username", "")),
        "password": str(found.get("Secret", "")),
        "serveraddress": server,
    }
