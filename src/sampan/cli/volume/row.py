"""A volume as `volume ls`, `system df -v` and their formats show it."""

from __future__ import annotations

from ..format import join_labels
from ..row import Row
from ..units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Name": "VOLUME NAME",
    "Group": "GROUP",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Availability": "AVAILABILITY",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Status": "STATUS",
}


class VolumeRow(Row):
    go_type = "formatter.volumeContext"
    unexported = ("v",)

    def __init__(self, volume: dict[str, Any]) -> None:
        self.volume = volume

    def _text(self, key: str) -> str:
        value: str = self.volume.get(key, "")
        return value

    def Name(self) -> str:
        return self._text("Name")

    def Driver(self) -> str:
        return self._text("Driver")

    def Scope(self) -> str:
        return self._text("Scope")

    def Mountpoint(self) -> str:
        return self._text("Mountpoint")

    def Labels(self) -> str:
        return join_labels(self.volume.get("Labels"))

    def Label(self, name: str) -> str:
        value: str = (self.volume.get("Labels") or {}).get(name, "")
        return value

    def Links(self) -> str:
        usage = self.volume.get("UsageData")
        return str(usage["RefCount"]) if usage else "N/A"

    def Size(self) -> str:
        usage = self.volume.get("UsageData")
        return human_size(usage["Size"]) if usage else "N/A"

    # of Swarm's cluster volumes, which there are none of

    def Group(self) -> str:
        return "N/A"

    def Availability(self) -> str:
        return "N/A"

    def Status(self) -> str:
        return "N/A"
