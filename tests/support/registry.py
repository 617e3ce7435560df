"""A real registry (Debian's docker-registry, the CNCF distribution) on a free loopback port."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from support.daemon import REPOSITORY
from support.images import PATH


def binary() -> str | None:
    unpacked = REPOSITORY / ".venv/peers/usr/bin/docker-registry"
    return str(unpacked) if unpacked.exists() else shutil.which("docker-registry")


class Registry:
    """`address` is host:port; loopback registries are insecure by Docker's rule, so plain HTTP is right."""

    def __init__(self, root: Path, htpasswd: Path | None = None) -> None:
        program = binary()
        assert program is not None, "docker-registry is missing: run test.sh, which unpacks it"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        auth = f"auth: {{htpasswd: {{realm: sampan, path: {htpasswd}}}}}\n" if htpasswd else ""
        (root / "config.yml").write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n"
            f'http: {{addr: "{self.address}"}}\n{auth}'
        )
        self._log = (root / "log").open("wb")
        self._process = subprocess.Popen([program, "serve", root / "config.yml"], stdout=self._log, stderr=self._log)
        self._await()

    def _await(self) -> None:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/", timeout=2)
                return
            except urllib.error.HTTPError:
                return  # 401: it answers
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the registry does not answer")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


def put(registry: Registry, path: str, data: bytes, type: str) -> None:
    request = urllib.request.Request(f"http://{registry.address}/v2/{path}", data, {"Content-Type": type}, method="PUT")
    urllib.request.urlopen(request).close()


def push(registry: Registry, repository: str, tag: str, layers: list[bytes], command: list[str]) -> str:
    """An image put into the registry by hand (OCI manifest, gzip layers); returns the manifest's digest."""

    def blob(data: bytes) -> dict[str, object]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        url = f"http://{registry.address}/v2/{repository}/blobs/uploads/"
        with urllib.request.urlopen(urllib.request.Request(url, b"", method="POST")) as response:
            location = response.headers["Location"]
        joined = location + ("&" if "?" in location else "?") + f"digest={digest}"
        request = urllib.request.Request(joined, data, {"Content-Type": "application/octet-stream"}, method="PUT")
        urllib.request.urlopen(request).close()
        return {"digest": digest, "size": len(data)}

    config = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": command, "Env": [PATH]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]},
    }  # fmt: skip
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **blob(json.dumps(config).encode())},
        "layers": [
            {"mediaType": f"{kind}.layer.v1.tar+gzip", **blob(gzip.compress(layer, mtime=0))} for layer in layers
        ],
    }
    body = json.dumps(manifest).encode()
    put(registry, f"{repository}/manifests/{tag}", body, f"{kind}.manifest.v1+json")
    return "sha256:" + hashlib.sha256(body).hexdigest()
