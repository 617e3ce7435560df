"""`POST /containers/{id}/update`: limits and the restart policy of a container that exists."""

from __future__ import annotations

import msgspec

from sampan.containers import oci_resources, resources, validation
from sampan.containers.context import Context
from sampan.containers.host import host
from sampan.containers.model import HostConfig, Status
from sampan.containers.roster import Record
from sampan.errors import Conflict

_NAMES = (
    "cpu_shares memory nano_cpus blkio_weight cpu_period cpu_quota cpu_realtime_period cpu_realtime_runtime "
    "cpuset_cpus cpuset_mems memory_reservation memory_swap memory_swappiness pids_limit oom_kill_disable "
    "kernel_memory kernel_memory_tcp restart_policy"
)
_FIELDS = {name.replace("_", ""): name for name in _NAMES.split()}
"""By the API's spelling in lower case: what may change."""


class Updating:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def update(self, record: Record, changes: HostConfig, given: frozenset[str]) -> list[str]:
        """Warnings. All or nothing: the kernel first, then the document."""
        context, container = self._context, record.container
        async with record.lock:
            if container.state.status in (Status.REMOVING, Status.DEAD):
                raise Conflict(
                    f'Cannot update container {container.id}: container is marked for removal and cannot be "update"'
                )
            updated = msgspec.structs.replace(container.host_config)
            for spelled in given:
                if (name := _FIELDS.get(spelled)) is not None:
                    _apply(updated, changes, name)
            if updated.restart_policy is not None:
                validation.check_restart_policy(updated.restart_policy)
                if updated.auto_remove and updated.restart_policy.name not in ("", "no"):
                    raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
            warnings = resources.check(updated, host(), update=True)
            if container.state.running and given - {"restartpolicy"} and container.state.pid:
                await context.runtime.update(
                    context.bundle(container), container.runtime, oci_resources.resources(updated)
                )
            container.host_config = updated
            if "restartpolicy" in given:
                record.restarts = 0
            context.save(record)
            context.publish(container, "update")
            return warnings


def _apply(updated: HostConfig, changes: HostConfig, name: str) -> None:
    """Zero means "leave it", as Docker reads it."""
    value = getattr(changes, name)
    if name == "restart_policy":
        if value is not None and value.name:
            updated.restart_policy = value
    elif name == "pids_limit":
        if value is not None:
            updated.pids_limit = value
    elif value:
        setattr(updated, name, value)
        if name == "nano_cpus":
            updated.cpu_period = updated.cpu_quota = 0
        elif name in ("cpu_period", "cpu_quota"):
            updated.nano_cpus = 0
