"""`system df`: what takes the space."""

from __future__ import annotations

import time

from sampan.golang import SECOND, human_duration

from ..commands import Command
from ..container.row import HEADERS as CONTAINER_HEADERS
from ..container.row import ContainerRow
from ..errors import CliError
from ..flags import Flag
from ..format import FORMAT_HELP, columns, is_table, render, short_id
from ..image.row import HEADERS as IMAGE_HEADERS
from ..image.row import ImageRow, is_dangling
from ..references import parse
from ..row import Row
from ..units import human_size, parse_rfc3339
from ..volume.row import HEADERS as VOLUME_HEADERS
from ..volume.row import VolumeRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli

_HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_CACHE_HEADERS = {
    "ID": "CACHE ID",
    "Parent": "PARENT",
    "CacheType": "CACHE TYPE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "LastUsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "InUse": "IN USE",
    "Shared": "SHARED",
    "Description": "DESCRIPTION",
}


class UsageRow(Row):
    """One kind of thing: how many, how many in use, bytes, and bytes that nothing needs."""

    def __init__(self, kind: str, type_name: str, total: int, active: int, size: int, reclaimable: int) -> None:
        self.kind = kind
        self.go_type = f"formatter.{type_name}"
        self.total = total
        self.active = active
        self.size = size
        self.reclaimable = reclaimable
        self.with_share = type_name != "diskUsageBuilderContext"

    def Type(self) -> str:
        return self.kind

    def TotalCount(self) -> str:
        return str(self.total)

    def Active(self) -> str:
        return str(self.active)

    def Size(self) -> str:
        return human_size(self.size)

    def Reclaimable(self) -> str:
        text = human_size(self.reclaimable)
        if self.size > 0 and self.with_share:
            # Go's integer division cuts towards zero
            text += f" ({int(self.reclaimable * 100 / self.size)}%)"
        return text


class CacheRow(Row):
    """One record of the build cache."""

    go_type = "formatter.buildCacheContext"
    unexported = ("trunc", "v")

    def __init__(self, record: dict[str, Any], trunc: bool, now: int) -> None:
        self.record = record
        self.trunc = trunc
        self.now = now

    def ID(self) -> str:
        identifier = self.record["ID"]
        return (short_id(identifier) if self.trunc else identifier) + ("*" if self.record.get("InUse") else "")

    def Parent(self) -> str:
        parent = ", ".join(self.record.get("Parents") or []) or self.record.get("Parent") or ""
        return short_id(parent) if self.trunc else parent

    def CacheType(self) -> str:
        kind: str = self.record.get("Type", "")
        return kind

    def Description(self) -> str:
        text: str = self.record.get("Description", "")
        return text

    def Size(self) -> str:
        return human_size(self.record.get("Size", 0), 3)

    def _since(self, key: str) -> str:
        moment = self.record.get(key)
        if not moment:
            return ""
        return human_duration((self.now - parse_rfc3339(moment)[0]) * SECOND) + " ago"

    def _time(self, key: str) -> str:
        from ..template.gotime import Time

        moment = self.record.get(key)
        return str(Time(moment)) if moment else ""

    def CreatedAt(self) -> str:
        return self._time("CreatedAt")

    def CreatedSince(self) -> str:
        return self._since("CreatedAt")

    def LastUsedAt(self) -> str:
        return self._time("LastUsedAt")

    def LastUsedSince(self) -> str:
        return self._since("LastUsedAt")

    def UsageCount(self) -> str:
        return str(self.record.get("UsageCount", 0))

    def InUse(self) -> str:
        return "true" if self.record.get("InUse") else "false"

    def Shared(self) -> str:
        return "true" if self.record.get("Shared") else "false"


def _is_active(container: dict[str, Any]) -> bool:
    return container.get("State") in ("running", "paused", "restarting")


def summary(usage: dict[str, Any]) -> list[UsageRow]:
    """The four rows of `system df` out of what GET /system/df answers."""
    images, containers = usage.get("Images") or [], usage.get("Containers") or []
    volumes, cache = usage.get("Volumes") or [], usage.get("BuildCache") or []
    layers = usage.get("LayersSize") or 0
    used = sum(
        image["Size"] - image["SharedSize"]
        for image in images
        if image.get("Containers") and -1 not in (image["Size"], image["SharedSize"])
    )
    sizes = [(container.get("SizeRw") or 0, _is_active(container)) for container in containers]
    volume_usage = [volume.get("UsageData") or {"RefCount": -1, "Size": -1} for volume in volumes]
    known = [(item["Size"], item["RefCount"]) for item in volume_usage if item["Size"] != -1]
    built = sum(record.get("Size", 0) for record in cache if not record.get("Shared"))
    built_used = sum(r.get("Size", 0) for r in cache if r.get("InUse") and not r.get("Shared"))
    return [
        UsageRow(
            "Images",
            "diskUsageImagesContext",
            len(images),
            sum(image.get("Containers", 0) > 0 for image in images),
            layers,
            layers - used,
        ),
        UsageRow(
            "Containers",
            "diskUsageContainersContext",
            len(containers),
            sum(active for _, active in sizes),
            sum(size for size, _ in sizes),
            sum(size for size, active in sizes if not active),
        ),
        UsageRow(
            "Local Volumes",
            "diskUsageVolumesContext",
            len(volumes),
            sum(item["RefCount"] > 0 for item in volume_usage),
            sum(size for size, _ in known),
            sum(size for size, users in known if users == 0),
        ),
        UsageRow(
            "Build Cache",
            "diskUsageBuilderContext",
            len(cache),
            sum(bool(record.get("InUse")) for record in cache),
            built,
            built - built_used,
        ),
    ]


class Details:
    """The rows of `system df -v`, kind by kind."""

    def __init__(self, usage: dict[str, Any], trunc: bool) -> None:
        now = int(time.time())
        self.images = [row for image in usage.get("Images") or [] for row in _image_row(image, trunc, now)]
        # what an image brings along is not the container's
        containers = [{**container, "SizeRootFs": 0} for container in usage.get("Containers") or []]
        self.containers = [ContainerRow(container, trunc, now) for container in containers]
        self.volumes = [VolumeRow(volume) for volume in usage.get("Volumes") or []]
        cache = sorted(usage.get("BuildCache") or [], key=lambda r: (r.get("LastUsedAt") or "", r["ID"]))
        self.cache = [CacheRow(record, trunc, now) for record in cache]
        self.cache_size = sum(record.get("Size", 0) for record in cache if not record.get("Shared"))

    def tables(self) -> str:
        return (
            "Images space usage:\n\n"
            + render(
                columns("Repository Tag ID CreatedSince Size SharedSize UniqueSize Containers"),
                self.images,
                IMAGE_HEADERS,
            )
            + "\nContainers space usage:\n\n"
            + render(
                columns("ID Image Command LocalVolumes Size RunningFor Status Names"),
                self.containers,
                CONTAINER_HEADERS,
            )
            + "\nLocal Volumes space usage:\n\n"
            + render(columns("Name Links Size"), self.volumes, VOLUME_HEADERS)
            + f"\nBuild cache usage: {human_size(self.cache_size)}\n\n"
            + render(
                columns("ID CacheType Size CreatedSince LastUsedSince UsageCount Shared"), self.cache, _CACHE_HEADERS
            )
        )

    def templated(self, format: str) -> str:
        from ..template import Template, TemplateError
        from ..template.govalues import GoList, Struct

        fields: dict[str, object] = {
            "Images": GoList(self.images, "[]*formatter.imageContext"),
            "Containers": GoList(self.containers, "[]*formatter.ContainerContext"),
            "Volumes": GoList(self.volumes, "[]*formatter.volumeContext"),
            "BuildCache": GoList(self.cache, "[]*formatter.buildCacheContext"),
        }
        value = Struct("formatter.diskUsageContext", fields, [(name, name, False) for name in fields], pointer=True)
        source = "{{json .}}" if format == "json" else format.strip(" ").replace("\\t", "\t").replace("\\n", "\n")
        try:
            template = Template(source)
        except TemplateError as error:
            raise CliError(f"template parsing error: {error}") from None
        try:
            return template.render(value)
        except TemplateError as error:
            raise CliError(str(error)) from None


def _image_row(image: dict[str, Any], trunc: bool, now: int) -> list[ImageRow]:
    repository = tag = "<none>"
    if image.get("RepoTags") and not is_dangling(image):
        try:
            reference = parse(image["RepoTags"][0])
        except CliError:
            return []
        if reference.tag:
            repository, tag = reference.familiar_name, reference.tag
    return [ImageRow(image, repository, tag, "", trunc, now)]


_RAW = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n"


def _raw_details() -> str:
    from ..container.ps import container_format
    from ..image.ls import image_format
    from ..volume.ls import volume_format

    cache = (
        "build_cache_id: {{.ID}}\nparent_id: {{.Parent}}\nbuild_cache_type: {{.CacheType}}\n"
        "description: {{.Description}}\ncreated_at: {{.CreatedAt}}\ncreated_since: {{.CreatedSince}}\n"
        "last_used_at: {{.LastUsedAt}}\nlast_used_since: {{.LastUsedSince}}\nusage_count: {{.UsageCount}}\n"
        "in_use: {{.InUse}}\nshared: {{.Shared}}\n"
    )
    return "".join(
        "{{range ." + kind + "}}type: " + title + "\n" + body + "\n{{end -}}" + "\n" * (kind != "BuildCache")
        for kind, title, body in (
            ("Images", "Image", image_format("raw", False, True)),
            ("Containers", "Container", container_format("raw", False, True)),
            ("Volumes", "Volume", volume_format("raw", False)),
            ("BuildCache", "Build Cache", cache),
        )
    )


def _df(cli: Cli, flags: Flags, args: list[str]) -> int:
    usage = cli.client.get("/system/df") or {}
    format = flags.text("format") or "table"
    if flags.yes("verbose"):
        details = Details(usage, is_table(format))
        if format == "table":
            cli.out(details.tables())
        else:
            cli.out(details.templated(_raw_details() if format == "raw" else format))
        return 0
    if format == "table":
        format = columns("Type TotalCount Active Size Reclaimable")
    cli.out(render(_RAW if format == "raw" else format, summary(usage), _HEADERS))
    return 0


COMMAND = Command(
    "[OPTIONS]",
    _df,
    most=0,
    flags=(
        Flag("verbose", "bool", "Show detailed information on space usage", short="v"),
        Flag("format", "string", FORMAT_HELP),
    ),
)
