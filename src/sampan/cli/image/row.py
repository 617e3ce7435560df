"""An image as `images`, `system df -v` and their formats show it: one row a name."""

from __future__ import annotations

from sampan.golang import SECOND, human_duration

from ..errors import CliError
from ..format import short_id
from ..references import parse
from ..row import Row
from ..units import human_size, local_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}


class ImageRow(Row):
    """`summary` is one entry of GET /images/json, under one of its names."""

    go_type = "formatter.imageContext"
    unexported = ("trunc", "i", "repo", "tag", "digest")

    def __init__(self, summary: dict[str, Any], repository: str, tag: str, digest: str, trunc: bool, now: int) -> None:
        self.summary = summary
        self.repository = repository
        self.tag = tag
        self.digest = digest
        self.trunc = trunc
        self.now = now

    def ID(self) -> str:
        identifier: str = self.summary.get("Id", "")
        return short_id(identifier) if self.trunc else identifier

    def Repository(self) -> str:
        return self.repository

    def Tag(self) -> str:
        return self.tag

    def Digest(self) -> str:
        return self.digest

    def CreatedSince(self) -> str:
        return human_duration((self.now - self.summary.get("Created", 0)) * SECOND) + " ago"

    def CreatedAt(self) -> str:
        return local_time(self.summary.get("Created", 0))

    def Size(self) -> str:
        return human_size(self.summary.get("Size", 0), 3)

    def Containers(self) -> str:
        count = self.summary.get("Containers", 0)
        return "N/A" if count == -1 else str(count)

    def VirtualSize(self) -> str:
        return human_size(self.summary.get("Size", 0))

    def SharedSize(self) -> str:
        size = self.summary.get("SharedSize", 0)
        return "N/A" if size == -1 else human_size(size)

    def UniqueSize(self) -> str:
        size, shared = self.summary.get("Size", 0), self.summary.get("SharedSize", 0)
        return "N/A" if -1 in (size, shared) else human_size(size - shared)


def is_dangling(summary: dict[str, Any]) -> bool:
    tags, digests = summary.get("RepoTags") or [], summary.get("RepoDigests") or []
    return (not tags and not digests) or (tags == ["<none>:<none>"] and digests == ["<none>@<none>"])


def rows(summary: dict[str, Any], trunc: bool, now: int, digests_asked: bool, digest_shown: bool) -> Iterator[ImageRow]:
    """The rows of one image: one a tag (and digest, where digests are shown), then what only a digest names."""
    if is_dangling(summary):
        yield ImageRow(summary, "<none>", "<none>", "<none>", trunc, now)
        return
    tags = _by_repository(summary.get("RepoTags") or [], digest=False)
    digests = _by_repository(summary.get("RepoDigests") or [], digest=True)
    for repository, held in tags.items():
        known = digests.pop(repository, []) if digest_shown else digests.pop(repository, [])[:0]
        for tag in held:
            for digest in known or ["<none>"]:
                yield ImageRow(summary, repository, tag, digest, trunc, now)
    for repository, known in digests.items():
        for digest in known if digests_asked else [""]:
            yield ImageRow(summary, repository, "<none>", digest, trunc, now)


def _by_repository(names: list[str], digest: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        try:
            reference = parse(name)
        except CliError:
            continue
        part = reference.digest if digest else reference.tag
        if part:
            found.setdefault(reference.familiar_name, []).append(part)
    return found
