"""`sampan registry serve` on a free loopback port, an S3 server to keep things in, and a small client."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The spec's error code."""
        return str(self.json["errors"][0]["code"])


class OwnRegistry:
    """One process. `port` stays the same over `kill` and `start`."""

    def __init__(self, root: Path, *flags: str, storage: str = "", environment: dict[str, str] | None = None) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._flags = ["--storage", storage or str(root / "data"), *flags]
        self._environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "sampan.registry", "--address", self.address, *self._flags]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.root / "log").read_text()
            time.sleep(0.03)
        raise AssertionError("the registry does not listen")

    def kill(self) -> None:
        """As a crash."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    # -- requests ----------------------------------------------------------------------------------
    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """`Content_Type="…"` becomes a header."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def push_blob(self, name: str, data: bytes) -> str:
        where = digest(data)
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={where}", data)
        assert answer.status == 201, answer
        return where

    def push_manifest(self, name: str, reference: str, manifest: dict[str, Any]) -> str:
        data = json.dumps(manifest).encode()
        answer = self.ask(
            "PUT", f"/v2/{name}/manifests/{reference or digest(data)}", data, Content_Type=manifest["mediaType"]
        )
        assert answer.status == 201, answer
        return digest(data)

    def push_image(self, name: str, tag: str, layer: bytes = b"layer", **more: Any) -> str:
        """A small image; returns its digest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "seed": layer.hex()}).encode()
        self.push_blob(name, config)
        self.push_blob(name, layer)
        return self.push_manifest(name, tag, image(config, layer, **more))


def image(config: bytes, layer: bytes, /, **more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": digest(layer), "size": len(layer)}],
        **more,
    }


class S3:
    """moto's server with one bucket."""

    BUCKET = "registry"

    @staticmethod
    def binary() -> str | None:
        installed = Path(__file__).parents[2] / ".venv/s3/bin/moto_server"  # by test.sh
        return str(installed) if installed.exists() else shutil.which("moto_server")

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._log = (root / "moto.log").open("wb")
        binary = self.binary()
        assert binary is not None
        command = [binary, "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
        for _ in range(600):
            if self.ask("PUT", f"/{self.BUCKET}"):
                return
            time.sleep(0.1)
        raise AssertionError("the S3 server does not answer")

    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}  # noqa: RUF012

    def ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.read() or b"ok"
        except OSError:
            return b""
        finally:
            connection.close()

    def keys(self) -> list[str]:
        listing = self.ask("GET", f"/{self.BUCKET}?list-type=2").decode()
        return [part.partition("</Key>")[0] for part in listing.split("<Key>")[1:]]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
