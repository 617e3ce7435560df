"""A daemon's networks that are killed in the middle: run as a program, it starts a container and dies at the Nth step.

Usage: killed.py ROOT STEP. Exit status 9 when it died, 0 when there were fewer steps than STEP.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sampan.linux import mounts
from sampan.linux.netlink import Netlink
from sampan.linux.nft import Nft
from sampan.networks import EndpointRequest, Network, Networks, PortRequest
from sampan.settings import Settings
from sampan.store import Database, Documents, EventLog

DEATH = 9


def settings(root: Path) -> Settings:
    return Settings(
        data_root=root / "data",
        exec_root=root / "run",
        bridge="lab0",
        nft_table="lab",
        address_pools=(("10.177.0.0/16", 24),),
    )


def arm(step: int) -> None:
    """From now on the `step`th call that changes anything is the last one."""
    left = [step]

    def deadly(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            result = real(*arguments, **named)
            left[0] -= 1
            if left[0] == 0:
                os._exit(DEATH)
            return result

        setattr(owner, name, call)

    for owner, name in ((Netlink, "run"), (Nft, "run"), (mounts, "bind"), (Documents, "put"), (Path, "touch")):
        deadly(owner, name)


async def main(root: Path, step: int) -> None:
    (root / "run").mkdir(parents=True, exist_ok=True)
    database = Database(settings(root).data_root / "state.db")
    networks = Networks(settings(root), database, EventLog(database))
    await networks.open({})
    await asyncio.sleep(0.1)
    arm(step)
    await networks.create(Network(name="net"))
    requests = [EndpointRequest(network="bridge"), EndpointRequest(network="net", dns_names=["c1"])]
    await networks.up("1" * 64, "bridge", requests, [PortRequest(80, host_port="8080")])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
    os._exit(0)
