"""A `sampand` of a test's own: data root, socket, bridge, nftables table and cgroup parent that nobody else uses."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support.leftovers import OURS

REPOSITORY = Path(__file__).parents[2]


def docker_binary() -> str:
    """The stock docker CLI: the machine's own, or the one `test.sh` unpacked."""
    unpacked = REPOSITORY / ".venv/peers/usr/bin/docker"
    return str(unpacked) if unpacked.exists() else "docker"


SAMPAN = [sys.executable, "-m", "sampan.cli.main"]
"""Our own client."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


CONTROL = os.environ.get("SAMPAN_TEST_CONTROL", "")
"""`unix:///…` of a real engine: the compat tests then run against it, to show that they ask for what Docker does."""


class Daemon:
    """Start with `start()`, leave with `stop()` (clean, containers removed) or `kill()` (SIGKILL, as a crash)."""

    def __init__(self, tag: str, *flags: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=f"sampan-{tag}-"))
        self.tag = f"{tag}{os.getpid() % 10000}"
        self.data_root, self.exec_root = self.root / "data", self.root / "run"
        self.socket = self.root / "s.sock"
        self.host = f"unix://{self.socket}"
        self.bridge = f"sp{self.tag}"[:15]
        self.table = f"sampan_{self.tag}"
        self.cgroup_parent = f"/sampan-{self.tag}"
        self.pool = f"10.{200 + os.getpid() % 50}.{hash(tag) % 8 * 32}.0/19"
        self.config = self.root / "daemon.json"
        self.config.write_text("{}")
        self.log = self.root / "sampand.log"
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        OURS.update((str(self.root), self.bridge, self.table, self.cgroup_parent))
        self.client = [docker_binary()]
        """The command that `cli` and `ok` run: the stock docker CLI, or `SAMPAN`."""
        if CONTROL:
            self.host, self.socket = CONTROL, Path(CONTROL.removeprefix("unix://"))

    # -- life ------------------------------------------------------------------------------------
    def start(self, *flags: str) -> Daemon:
        if CONTROL:
            return self
        (self.root / "daemon.json").touch()
        command = [
            sys.executable, "-m", "sampan.daemon",
            "--host", self.host, "--data-root", self.data_root, "--exec-root", self.exec_root,
            "--pidfile", self.root / "sampand.pid", "--bridge", self.bridge, "--nft-table", self.table,
            "--cgroup-parent", self.cgroup_parent, "--default-address-pool", f"base={self.pool},size=24",
            "--config-file", self.config, *self.flags, *flags,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._await_socket()
        return self

    def _await_socket(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"sampand ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                status, _ = self.api("GET", "/_ping")
            except OSError:
                time.sleep(0.02)
                continue
            if status == 200:
                return
        raise AssertionError(f"sampand does not answer:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As a crash: SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; containers go on. Returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def stop(self) -> None:
        """Removes every container, ends the daemon, removes the roots; complains if mounts are left under them."""
        if self.process is not None and self.process.poll() is None:
            _, containers = self.api("GET", "/containers/json?all=1")
            for container in containers:
                self.api("DELETE", f"/containers/{container['Id']}?force=1&v=1")
            _, networks = self.api("GET", "/networks")
            for network in networks:
                if network["Name"] not in ("bridge", "host", "none"):
                    self.api("DELETE", f"/networks/{network['Id']}")
            self.terminate()
        self._remove_roots()

    def _remove_roots(self) -> None:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        left = [mount for mount in mounts if mount.startswith(str(self.root))]
        assert not left, f"mounts left behind: {left}\n{self.log.read_text()[-4000:]}"
        subprocess.run(["rm", "-rf", "--one-file-system", str(self.root)], check=True)

    # -- clients ---------------------------------------------------------------------------------
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DOCKER_HOST": self.host,
            "SAMPAN_HOST": self.host,
            "DOCKER_CONFIG": str(self.root / "config"),
            "DOCKER_BUILDKIT": "0",
            "DOCKER_CLI_HINTS": "false",
            "SAMPAN_AUTOSTART": "0",
        }

    def cli(self, *words: str, input: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """The client against this daemon."""
        return subprocess.run(
            [*self.client, *words],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=self.environment(),
        )

    def ok(self, *words: str, input: str | None = None) -> str:
        """The client must succeed; its stdout, stripped."""
        result = self.cli(*words, input=input)
        assert result.returncode == 0, (
            f"{self.client[-1]} {' '.join(words)}: {result.returncode}\n{result.stdout}{result.stderr}"
        )
        return result.stdout.strip()

    def api(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """(status, decoded body) of one request. `body` is bytes or anything JSON."""
        connection = _Connection(self.socket)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(data) if data else None
        except ValueError:
            return response.status, data

    def load(self, archive: bytes) -> None:
        status, body = self.api("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
        assert status == 200 and "error" not in str(body), body
