"""`POST /containers/{id}/rename`."""

from __future__ import annotations

from sampan.containers.context import Context, name_conflict
from sampan.containers.model import Container
from sampan.containers.roster import Record
from sampan.containers.rules import names
from sampan.errors import InvalidParameter, SampanError


async def rename(context: Context, record: Record, name: str) -> None:
    """Raises `InvalidParameter`, `Conflict`. The DNS of user-defined networks follows at once."""
    async with record.lock:
        container = record.container
        old = container.name
        try:
            name = names.check(name)
            if (owner := context.roster.owner(name)) and name != old:
                raise name_conflict(name, owner)
        except SampanError as error:
            error.message = "Error when allocating new name: " + error.message.replace("name (", "name (/", 1)
            raise
        if name == old:
            raise InvalidParameter("Renaming a container with the same name as its current name")
        container.name = name
        _follow(container, old, name)
        try:
            context.save(record)
        except BaseException:
            container.name = old
            _follow(container, name, old)
            raise
        if container.state.running:
            await context.networks.rename(container.id, old, name)
        context.roster.reserve(name, record.id)
        context.roster.release(old, record.id)
        context.publish(container, "rename", oldName="/" + old)


def _follow(container: Container, old: str, new: str) -> None:
    for settings in container.networking.values():
        if settings.dns_names:
            settings.dns_names = [new if name == old else name for name in settings.dns_names]
