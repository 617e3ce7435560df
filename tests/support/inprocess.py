"""An engine in the test's own process, without HTTP: temporary roots, a bridge and a cgroup parent of its own,
busybox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.containers import AttachOptions, LogOptions
from sampan.containers.model import Config, Container, HostConfig, NetworkingConfig
from sampan.engine import Engine
from sampan.settings import Settings
from support.images import busybox_archive


class InProcess:
    """Leave with `close()`: containers are removed, and mounts left below the root are complained about."""

    def __init__(self, tag: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=f"sampan-{tag}-"))
        own = f"{tag}{os.getpid() % 10000}"
        self.settings = Settings(
            data_root=self.root / "data",
            exec_root=self.root / "run",
            bridge=f"sp{own}"[:15],
            nft_table=f"sampan_{own}",
            cgroup_parent=f"/sampan-{own}",
            address_pools=((f"10.{100 + os.getpid() % 50}.{hash(tag) % 8 * 32}.0/19", 24),),
            shutdown_timeout=5,
        )
        self.engine: Engine

    async def open(self) -> InProcess:
        self.engine = await Engine.open(self.settings)
        return self

    async def load_busybox(self) -> None:
        async def archive() -> AsyncIterator[bytes]:
            yield busybox_archive()

        await self.engine.images.load(archive(), lambda message: None, True)

    async def crash_and_open(self) -> InProcess:
        """As close to SIGKILL as one process allows: nothing is told, only descriptors go."""
        await abandon(self.engine)
        return await self.open()

    async def close(self) -> None:
        containers = self.engine.containers
        for container in containers.all():
            with contextlib.suppress(Exception):
                await containers.remove(container.id, force=True, volumes=True)
        await self.engine.close()
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        left = [mount for mount in mounts if mount.startswith(str(self.root))]
        assert not left, f"mounts left behind: {left}"
        shutil.rmtree(self.root)

    # -- as a client would -------------------------------------------------------------------------
    async def create(self, *command: str, name: str = "", **options: object) -> str:
        """Options of Config and of HostConfig, by their field names."""
        host = HostConfig(**{k: v for k, v in options.items() if k in HostConfig.__struct_fields__})  # type: ignore[arg-type]
        config = Config(
            cmd=list(command) or None,
            **{"image": "busybox:latest"} | {k: v for k, v in options.items() if k in Config.__struct_fields__},  # type: ignore[arg-type]
        )
        created = await self.engine.containers.create(name, config, host, NetworkingConfig())
        return created.id

    async def run(self, *command: str, name: str = "", **options: object) -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr), as `docker run` gives them."""
        containers = self.engine.containers
        id = await self.create(*command, name=name, **options)
        stream = await containers.attach(id, AttachOptions(stdout=True, stderr=True))
        removed = bool(options.get("auto_remove"))
        waiting = asyncio.ensure_future(containers.wait(id, "removed" if removed else "next-exit"))
        await asyncio.sleep(0)
        await containers.start(id)
        found = {1: b"", 2: b""}
        while (chunk := await stream.read()) is not None:
            found[chunk[0]] += chunk[1]
        code, _ = await asyncio.wait_for(waiting, 20)
        return code, found[1], found[2]

    async def start(self, *command: str, name: str = "", **options: object) -> Container:
        """Detached."""
        id = await self.create(*command, name=name, **options)
        await self.engine.containers.start(id)
        return self.engine.containers.get(id)

    async def logs(self, ref: str, **options: object) -> bytes:
        wanted = LogOptions(stdout=True, stderr=True, **options)  # type: ignore[arg-type]
        return b"".join([line.data async for lines in self.engine.containers.logs(ref, wanted) for line in lines])

    def events(self, type: str = "container") -> list[str]:
        return [event.action for event in self.engine.events.history(0) if event.type == type]


async def abandon(engine: Engine) -> None:
    """Drops an engine without a word to anybody: its tasks, watches and locks go, its things stay."""
    current = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is not current:
            task.cancel()
    await asyncio.sleep(0)
    await engine.runtime.close()
    with contextlib.suppress(Exception):
        await engine.networks.close(keep=True)
    engine.database.close()
    engine._held.close()


__all__ = ["InProcess", "abandon"]
