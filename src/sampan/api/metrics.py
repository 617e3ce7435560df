"""`--metrics-addr`: the engine's figures for Prometheus, with dockerd's names where it has them."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

import sampan
from sampan import system
from sampan.engine import Engine
from sampan.store import Event

_STARTED = time.time()


class Metrics:
    """Listens as long as the block lasts."""

    def __init__(self, address: str, engine: Engine) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._engine = engine
        self._actions: Counter[str] = Counter()
        self._health: Counter[str] = Counter()
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Metrics:
        self._engine.events.observers.append(self._count)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host.strip("[]") or None, self._port).start()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._engine.events.observers.remove(self._count)
        await self._runner.cleanup()

    def _count(self, event: Event) -> None:
        if event.type == "container":
            action = event.action.partition(":")[0]
            self._actions[action] += 1
            if event.action == "health_status: unhealthy":
                self._health["failed"] += 1

    async def _answer(self, request: web.Request) -> web.Response:
        text = "".join(self._lines())
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _lines(self) -> list[str]:
        engine, host = self._engine, system.host()
        counts = system.counts(engine)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found: list[str] = []

        def add(name: str, kind: str, help: str, *values: tuple[dict[str, str], Any]) -> None:
            found.append(f"# HELP {name} {help}\n# TYPE {name} {kind}\n")
            for labels, value in values:
                shown = ",".join(f'{key}="{_escaped(one)}"' for key, one in labels.items())
                found.append(f"{name}{{{shown}}} {value}\n" if shown else f"{name} {value}\n")

        add(
            "engine_daemon_container_states_containers",
            "gauge",
            "The count of containers in various states",
            *(({"state": name}, getattr(counts, name)) for name in ("paused", "running", "stopped")),
        )
        add(
            "engine_daemon_container_actions_total",
            "counter",
            "The number of container actions, by the event they published",
            *(({"action": name}, count) for name, count in sorted(self._actions.items())),
        )
        add(
            "engine_daemon_health_checks_failed_total",
            "counter",
            "The total number of containers that became unhealthy",
            ({}, self._health["failed"]),
        )
        add("engine_daemon_images", "gauge", "The number of images", ({}, counts.images))
        add("engine_daemon_engine_cpus_cpus", "gauge", "The number of cpus that the host has", ({}, host.cpus))
        add(
            "engine_daemon_engine_memory_bytes", "gauge", "The number of bytes of memory of the host", ({}, host.memory)
        )
        add(
            "engine_daemon_engine_info",
            "gauge",
            "The information related to the engine and the OS it is running on",
            (
                {
                    "architecture": host.machine,
                    "commit": "",
                    "daemon_id": engine.id,
                    "graphdriver": "overlay2",
                    "kernel": host.kernel,
                    "os": host.os_name,
                    "os_type": "linux",
                    "os_version": host.os_version,
                    "version": sampan.__version__,
                },
                1,
            ),
        )
        add(
            "engine_daemon_events_subscribers_total",
            "gauge",
            "The number of current subscribers to events",
            ({}, engine.events.listeners),
        )
        add(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            ({}, round(usage.ru_utime + usage.ru_stime, 2)),
        )
        add("process_open_fds", "gauge", "Number of open file descriptors.", ({}, len(os.listdir("/proc/self/fd"))))  # noqa: PTH208
        add("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", ({}, _resident()))
        add(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since the epoch.",
            ({}, round(_STARTED, 2)),
        )
        return found


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
