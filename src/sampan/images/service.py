"""The front door of images."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from sampan.images.model import Image, Platform

Progress = Callable[[dict[str, Any]], None]
"""Receives Docker's JSON progress messages: {"status", "id", "progressDetail": {"current", "total"}}. Called on the event loop."""


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Decoded `X-Registry-Auth`."""

    username: str = ""
    password: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """One row of `GET /images/json`."""

    image: Image
    parent_id: str = ""
    created: int = 0
    """Seconds since the epoch."""
    shared_size: int = -1
    containers: int = -1


@dataclass(frozen=True, slots=True)
class Deleted:
    """One line of `DELETE /images/{name}`: exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    id: str
    created: int
    created_by: str
    tags: list[str] = field(default_factory=list)
    size: int = 0
    comment: str = ""


class Images:
    """`users` is asked before an image is deleted: given an image id, it returns (container id, running) of those that use it.
    `engine` sets it, so that this room needs not know containers."""

    users: Callable[[str], list[tuple[str, bool]]] = staticmethod(lambda image_id: [])

    def resolve(self, ref: str, platform: Platform | None = None) -> Image:
        """By reference, digest, id or unique id prefix. Raises `NotFound("No such image: …:latest")` as Docker words it."""
        raise NotImplementedError

    def list(
        self, all: bool = False, filters: dict[str, list[str]] | None = None, shared_size: bool = False
    ) -> list[ImageSummary]:
        raise NotImplementedError

    def history(self, ref: str) -> list[HistoryRow]:
        raise NotImplementedError

    def tag(self, ref: str, repository: str, tag: str) -> None:
        raise NotImplementedError

    def delete(self, ref: str, force: bool = False, prune: bool = True) -> list[Deleted]:
        raise NotImplementedError

    async def pull(
        self, reference: str, platform: Platform | None, auth: RegistryAuth | None, progress: Progress
    ) -> None:
        """`reference` has a tag or digest. Progress as Docker draws it."""
        raise NotImplementedError

    async def load(self, archive: AsyncIterator[bytes], progress: Progress, quiet: bool = False) -> list[str]:
        """docker-archive or OCI layout, plain, gzip or zstd. Returns what was loaded, as `Loaded image: …` names it."""
        raise NotImplementedError

    def save(self, refs: list[str], platform: Platform | None = None) -> AsyncIterator[bytes]:
        """One tar that is both a docker-archive and an OCI layout, as dockerd 25+ writes it."""
        raise NotImplementedError
