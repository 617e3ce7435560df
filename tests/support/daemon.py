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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support import wreckage
from support.leftovers import OURS

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 60
"""Seconds for one answer."""
GRACE = 30
"""Seconds from SIGTERM to the end."""


def docker_binary() -> str:
    """The stock docker CLI: the machine's own, or the one `test.sh` unpacked."""
    unpacked = REPOSITORY / ".venv/peers/usr/bin/docker"
    return str(unpacked) if unpacked.exists() else "docker"


SAMPAN = [sys.executable, "-m", "sampan.cli.main"]
"""Our own client."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
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
    def start(self, *flags: str, limits: Sequence[str] = ()) -> Daemon:
        """`limits`: prlimit(1)'s options."""
        if CONTROL:
            return self
        (self.root / "daemon.json").touch()
        command = [
            *(["prlimit", *limits] if limits else []), sys.executable, "-m", "sampan.daemon",
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
        """SIGTERM; containers go on. Returns the exit code. Killed if it does not end, and its stacks are told."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            stacks = self.stacks()
            self.kill()
            raise AssertionError(f"sampand did not end within {GRACE} s\n{stacks}") from None

    def stop(self) -> None:
        """Removes every container, ends the daemon, removes the roots; complains if mounts are left under them."""
        try:
            self.end()
        finally:
            self._remove_roots()

    def end(self) -> None:
        """Removes every container and network, ends the daemon. When it hangs or refuses, all that it has is cleared by
        force, and that is a failure; what one that is dead already leaves is cleared, too."""
        if self.process is None:
            return
        if self.process.poll() is not None:
            if self.process.returncode:
                wreckage.clear(self.root, self.bridge, self.table, self.cgroup_parent)
            return
        try:
            for container in self.api("GET", "/containers/json?all=1")[1]:
                self.api("DELETE", f"/containers/{container['Id']}?force=1&v=1")
            for network in self.api("GET", "/networks")[1]:
                if network["Name"] not in ("bridge", "host", "none"):
                    self.api("DELETE", f"/networks/{network['Id']}")
            self.terminate()
        except BaseException:
            self.kill()
            wreckage.clear(self.root, self.bridge, self.table, self.cgroup_parent)
            raise

    def _remove_roots(self) -> None:
        log = self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        left = [mount for mount in mounts if mount.startswith(str(self.root))]
        if left:
            wreckage.clear(self.root, self.bridge, self.table, self.cgroup_parent)
        if not wreckage.unmount_below(self.root):  # or rm would go through what is mounted there
            subprocess.run(["rm", "-rf", "--one-file-system", str(self.root)], check=True)
        assert not left, f"mounts left behind: {left}\n{log}"

    def stacks(self) -> str:
        """What every thread and task of it does, and the end of its log: for a daemon that hangs."""
        if self.process is None or self.process.poll() is not None:
            return self.log.read_text(errors="replace")[-4000:]
        for path in self.exec_root.glob("goroutine-stacks-*"):
            path.unlink()
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(100):
            time.sleep(0.05)
            if written := list(self.exec_root.glob("goroutine-stacks-*")):
                time.sleep(0.2)
                return written[0].read_text() + self.log.read_text(errors="replace")[-4000:]
        # Nothing but faulthandler's lines in the log: its interpreter hangs.
        return self.log.read_text(errors="replace")[-12000:]

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
        try:
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
        except subprocess.TimeoutExpired as late:
            said = f"{late.stdout!r} {late.stderr!r}"
            raise AssertionError(f"{' '.join(words)}: no end in {timeout} s: {said}\n{self.stacks()}") from None

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
        except TimeoutError:
            raise TimeoutError(f"{method} {path}: no answer in {PATIENCE} s\n{self.stacks()}") from None
        finally:
            connection.close()
        try:
            return response.status, json.loads(data) if data else None
        except ValueError:
            return response.status, data

    def load(self, archive: bytes) -> None:
        status, body = self.api("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
        assert status == 200 and "error" not in str(body), body
