"""A real registry (Debian's docker-registry, the CNCF distribution) on a free loopback port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from support.daemon import REPOSITORY


def _binary() -> str | None:
    unpacked = REPOSITORY / ".venv/peers/usr/bin/docker-registry"
    return str(unpacked) if unpacked.exists() else shutil.which("docker-registry")


class Registry:
    """`address` is host:port; loopback registries are insecure by Docker's rule, so plain HTTP is right."""

    def __init__(self, root: Path, htpasswd: Path | None = None) -> None:
        binary = _binary()
        assert binary is not None, "docker-registry is missing: run test.sh, which unpacks it"
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
        self._process = subprocess.Popen([binary, "serve", root / "config.yml"], stdout=self._log, stderr=self._log)
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
