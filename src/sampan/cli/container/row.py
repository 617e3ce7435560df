"""A container as `ps`, `system df -v` and their formats show it."""

from __future__ import annotations

from sampan.golang import SECOND, human_duration, quote

from ..format import ellipsis, join_labels, short_id
from ..row import Row
from ..units import human_size, local_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "ID": "CONTAINER ID",
    "Names": "NAMES",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}


class ContainerRow(Row):
    """`summary` is one entry of GET /containers/json; {} stands for none, to try a format out on."""

    go_type = "formatter.ContainerContext"
    unexported = ("c", "trunc")

    def __init__(self, summary: dict[str, Any], trunc: bool, now: int) -> None:
        self.summary = summary
        self.trunc = trunc
        self.now = now
        self.size_used = False
        """Whether a format asked for the size, which costs the daemon a walk over the files."""

    def ID(self) -> str:
        identifier: str = self.summary.get("Id", "")
        return short_id(identifier) if self.trunc else identifier

    def Names(self) -> str:
        names = [name[1:] for name in self.summary.get("Names") or ()]
        if self.trunc:
            # a slash inside is a name from a legacy link
            names = [name for name in names if "/" not in name][:1] or names
        return ",".join(names)

    def Image(self) -> str:
        image: str = self.summary.get("Image", "")
        if not image:
            return "<no image>"
        if not self.trunc:
            return image
        identifier = short_id(self.summary.get("ImageID", ""))
        if identifier == short_id(image):
            return identifier
        return _without_digest(image) if "@" in image or "/" in image else image

    def Command(self) -> str:
        command: str = self.summary.get("Command", "")
        return quote(ellipsis(command, 20) if self.trunc else command)

    def CreatedAt(self) -> str:
        return local_time(self.summary.get("Created", 0))

    def RunningFor(self) -> str:
        return human_duration((self.now - self.summary.get("Created", 0)) * SECOND) + " ago"

    def Platform(self) -> object:
        platform = (self.summary.get("ImageManifestDescriptor") or {}).get("platform")
        if not platform:
            from ..template.govalues import NilPointer

            return NilPointer("*formatter.Platform")
        return "/".join(part for part in (platform.get(k) for k in ("os", "architecture", "variant")) if part)

    def Ports(self) -> str:
        ports = self.summary.get("Ports")
        if not ports:
            return ""
        from .ports import displayed

        return displayed(ports)

    def State(self) -> str:
        state: str = self.summary.get("State", "")
        return state

    def Status(self) -> str:
        status: str = self.summary.get("Status", "")
        return status

    def Size(self) -> str:
        self.size_used = True
        own = human_size(self.summary.get("SizeRw") or 0, 3)
        whole = self.summary.get("SizeRootFs") or 0
        return f"{own} (virtual {human_size(whole, 3)})" if whole > 0 else own

    def Labels(self) -> str:
        return join_labels(self.summary.get("Labels"))

    def Label(self, name: str) -> str:
        value: str = (self.summary.get("Labels") or {}).get(name, "")
        return value

    def Mounts(self) -> str:
        names = [mount.get("Name") or mount.get("Source", "") for mount in self.summary.get("Mounts") or ()]
        return ",".join(ellipsis(name, 15) if self.trunc else name for name in names)

    def LocalVolumes(self) -> str:
        return str(sum(mount.get("Driver") == "local" for mount in self.summary.get("Mounts") or ()))

    def Networks(self) -> str:
        return ",".join((self.summary.get("NetworkSettings") or {}).get("Networks") or ())


def _without_digest(image: str) -> str:
    """The reference as a person would write it, tag kept, digest dropped."""
    from ..errors import CliError
    from ..references import parse

    try:
        reference = parse(image)
    except CliError:
        return image
    return reference.familiar_name + (f":{reference.tag}" if reference.tag else "")
