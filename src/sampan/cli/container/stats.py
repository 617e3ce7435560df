"""`stats`: what containers use, once or again and again."""

from __future__ import annotations

import sys
import threading
import time

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..format import FORMAT_HELP, columns, render, short_id
from ..http import quote as escape
from ..row import Row
from ..units import bytes_size, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..flags import Flags
    from ..session import Cli

_HEADERS = {
    "Container": "CONTAINER",
    "Name": "NAME",
    "ID": "CONTAINER ID",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_INTERVAL = 0.5
"""Seconds between two drawings."""
_PATIENCE = 2.0
"""Seconds after which a container that sent nothing shows `--`."""


class Figures:
    """What one answer of the daemon says of a container."""

    def __init__(self, sample: dict[str, Any]) -> None:
        self.name: str = sample.get("name") or sample.get("Name") or ""
        self.id: str = sample.get("id") or sample.get("Id") or ""
        self.cpu = _cpu_percent(sample)
        memory = sample.get("memory_stats") or {}
        self.memory = _memory_without_cache(memory)
        self.limit = memory.get("limit") or 0
        networks = (sample.get("networks") or {}).values()
        self.received = sum(network.get("rx_bytes", 0) for network in networks)
        self.sent = sum(network.get("tx_bytes", 0) for network in networks)
        self.read, self.written = _block_io(sample.get("blkio_stats") or {})
        self.pids = (sample.get("pids_stats") or {}).get("current") or 0


def _cpu_percent(sample: dict[str, Any]) -> float:
    """The share of one CPU used between two readings: 200 is two whole CPUs."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    system = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cpus = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ())
    return used / system * cpus * 100.0 if system > 0 and used > 0 else 0.0


def _memory_without_cache(memory: dict[str, Any]) -> int:
    """Usage less the page cache that can be dropped; cgroup v1 and v2 name it differently."""
    usage: int = memory.get("usage") or 0
    details = memory.get("stats") or {}
    inactive: int = details.get("total_inactive_file", details.get("inactive_file", 0))
    return usage - inactive if inactive < usage else usage


def _block_io(stats: dict[str, Any]) -> tuple[int, int]:
    read = written = 0
    for entry in stats.get("io_service_bytes_recursive") or ():
        operation = (entry.get("op") or "")[:1].lower()
        if operation == "r":
            read += entry.get("value", 0)
        elif operation == "w":
            written += entry.get("value", 0)
    return read, written


class StatsRow(Row):
    go_type = "container.statsContext"
    unexported = ("s", "os", "trunc")

    def __init__(self, container: str, figures: Figures | None, last: Figures | None, trunc: bool) -> None:
        self.container = container
        self.figures = figures
        self.last = last
        """The last figures there were, for the name of a container that stopped sending."""
        self.trunc = trunc

    def Container(self) -> str:
        return self.container

    def Name(self) -> str:
        return self.last.name[1:] if self.last is not None and len(self.last.name) > 1 else "--"

    def ID(self) -> str:
        identifier = "" if self.last is None else self.last.id
        return short_id(identifier) if self.trunc else identifier

    def CPUPerc(self) -> str:
        return "--" if self.figures is None else f"{self.figures.cpu:.2f}%"

    def MemUsage(self) -> str:
        if self.figures is None:
            return "-- / --"
        return f"{bytes_size(self.figures.memory)} / {bytes_size(self.figures.limit)}"

    def MemPerc(self) -> str:
        if self.figures is None:
            return "--"
        return f"{self.figures.memory / self.figures.limit * 100.0 if self.figures.limit else 0.0:.2f}%"

    def NetIO(self) -> str:
        if self.figures is None:
            return "--"
        return f"{human_size(self.figures.received, 3)} / {human_size(self.figures.sent, 3)}"

    def BlockIO(self) -> str:
        if self.figures is None:
            return "--"
        return f"{human_size(self.figures.read, 3)} / {human_size(self.figures.written, 3)}"

    def PIDs(self) -> str:
        return "--" if self.figures is None else str(self.figures.pids)


class _Watched:
    """One container, read in a thread of its own."""

    def __init__(self, cli: Cli, container: str, stream: bool) -> None:
        self.container = container
        self.stream = stream
        self.last: Figures | None = None
        self.heard = 0.0
        self.problem = ""
        self.first = threading.Event()
        self._client = cli.client
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        query = {"stream": 1 if self.stream else 0}
        try:
            response = self._client.request("GET", f"/containers/{escape(self.container)}/stats", query)
            for sample in response.documents():
                self.last = Figures(sample)
                self.heard = time.monotonic()
                self.first.set()
        except CliError as error:
            self.problem = error.message
        self.heard = self.heard if not self.stream else 0.0
        self.first.set()

    def row(self, trunc: bool) -> StatsRow:
        fresh = self.last is not None and (not self.stream or time.monotonic() - self.heard < _PATIENCE + 1)
        return StatsRow(self.container, self.last if fresh else None, self.last, trunc)


class _Screen:
    """The set of watched containers. Without names it follows what starts and stops."""

    def __init__(self, cli: Cli, every: bool, stream: bool) -> None:
        self.cli = cli
        self.every = every
        self.stream = stream
        self.watched: dict[str, _Watched] = {}

    def add(self, container: str) -> None:
        if container not in self.watched:
            self.watched[container] = _Watched(self.cli, container, self.stream)

    def follow(self) -> None:
        """Start watching what runs (or is there at all), then keep up with events."""
        query = {"all": True if self.every else None}
        if self.stream:
            response = self.cli.client.request("GET", "/events", {"filters": '{"type":{"container":true}}'})
            threading.Thread(target=self._events, args=(response,), daemon=True).start()
        for container in self.cli.client.get("/containers/json", query) or []:
            self.add(container["Id"][:12])

    def _events(self, response: Any) -> None:
        for event in response.documents():
            action, container = event.get("Action"), event["Actor"]["ID"][:12]
            if action == "start" or (action == "create" and self.every):
                self.add(container)
            elif action == "die" and not self.every:
                self.watched.pop(container, None)

    def wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        for watched in list(self.watched.values()):
            watched.first.wait(max(deadline - time.monotonic(), 0))

    def problems(self) -> list[str]:
        return [watched.problem for watched in self.watched.values() if watched.problem]

    def text(self, format: str, trunc: bool) -> str:
        return render(format, [watched.row(trunc) for watched in list(self.watched.values())], _HEADERS)


def _stats(cli: Cli, flags: Flags, names: Sequence[str]) -> int:
    stream = not flags.yes("no-stream")
    cli.client.negotiate()  # before threads share it: each request takes a connection of its own
    screen = _Screen(cli, flags.yes("all"), stream)
    if names:
        for name in names:
            screen.add(name)
    else:
        screen.follow()
    screen.wait()
    if names and screen.problems():
        raise CliError("\n".join(screen.problems()))
    format = flags.text("format") or (cli.config.text("statsFormat") if cli.has_config else "") or "table"
    if format == "table":
        format = columns("ID Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs")
    trunc = not flags.yes("no-trunc")
    if not stream:
        cli.out(screen.text(format, trunc))
        return 0
    while True:
        time.sleep(_INTERVAL)
        text = screen.text(format, trunc)
        # home, each line with what was right of it erased, then all below
        cli.out("\033[H" + "".join(f"{line} \033[K\n" for line in text.split("\n")) + "\033[J")
        sys.stdout.flush()
        if names and not screen.watched:
            return 0


COMMAND = Command(
    "[OPTIONS] [CONTAINER...]",
    _stats,
    aliases=("container stats", "stats"),
    flags=(
        Flag("all", "bool", "Show all containers (default shows just running)", short="a"),
        Flag("no-stream", "bool", "Disable streaming stats and only pull the first result"),
        Flag("no-trunc", "bool", "Do not truncate output"),
        Flag("format", "string", FORMAT_HELP),
    ),
)
