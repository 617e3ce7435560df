"""The person's config.json: credentials as docker stores them, proxies, and a file that is broken."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sampan.cli.config import HUB, Config


def basic(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_credentials_of_a_registry() -> None:
    config = Config({"auths": {"localhost:5000": basic("me:se:cret"), HUB: basic("hub:pw")}})
    expected = {"username": "me", "password": "se:cret", "serveraddress": "localhost:5000"}
    assert config.credentials("localhost:5000") == expected
    assert config.credentials("docker.io")["username"] == "hub"
    assert config.credentials("elsewhere") == {}
    header = config.registry_auth("localhost:5000")
    assert json.loads(base64.urlsafe_b64decode(header)) == expected


def test_old_files_store_urls() -> None:
    config = Config({"auths": {"https://old.example/v1/": basic("a:b")}})
    assert config.credentials("old.example")["password"] == "b"


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-fake"
    helper.write_text(
        "#!/bin/sh\nread server\n"
        """[ "$server" = known.example ] && echo '{"Username":"<token>","Secret":"t"}' && exit\n"""
        'echo "credentials not found in native keychain"; exit 1\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config = Config({"credHelpers": {"known.example": "fake"}, "credsStore": "fake"})
    assert config.credentials("known.example") == {"identitytoken": "t", "serveraddress": "known.example"}
    assert config.credentials("other.example") == {}


def test_proxies_for_new_containers() -> None:
    config = Config({"proxies": {"default": {"httpProxy": "http://p:1"}, "tcp://h:1": {"noProxy": "x"}}})
    assert config.proxies("unix:///s") == {"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1"}
    assert config.proxies("tcp://h:1") == {"NO_PROXY": "x", "no_proxy": "x"}


def test_a_broken_file_only_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{")
    assert Config.load(str(tmp_path)).values == {}
    assert capsys.readouterr().err.startswith(f"WARNING: Error loading config file: {tmp_path}/config.json: ")
    assert Config.load("/nonexistent").values == {}
