"""Images in Docker's JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.api.timestamps import ZERO
from sampan.api.versions import Version
from sampan.images.manifests import Descriptor
from sampan.images.model import Image, Platform, RunConfig
from sampan.images.service import Deleted, HistoryRow, ImageSummary
from sampan.images.variants import Variant

_ALWAYS: dict[str, Any] = {
    "Cmd": None,
    "Entrypoint": None,
    "Env": None,
    "Labels": None,
    "OnBuild": None,
    "User": "",
    "Volumes": None,
    "WorkingDir": "",
}
"""What `Config` shows even when unset, in every version."""
_BEFORE_1_50: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}
"""Container settings that never meant anything in an image; 1.50 dropped them."""


def config(value: RunConfig, version: Version) -> dict[str, Any]:
    given: dict[str, Any] = msgspec.to_builtins(value)
    return {**(_BEFORE_1_50 if version < (1, 50) else {}), **_ALWAYS, **given}


def variant(value: Variant, containers: list[str]) -> dict[str, Any]:
    """One `ImageManifestSummary`: a manifest behind an image's name."""
    view: dict[str, Any] = {
        "ID": value.descriptor.digest,
        "Descriptor": msgspec.to_builtins(value.descriptor),
        "Available": value.available,
        "Size": {"Content": value.content, "Total": value.total},
        "Kind": value.kind,
    }
    if value.kind == "image":
        platform = value.platform or Platform()
        view["ImageData"] = {
            "Platform": {"architecture": platform.architecture, "os": platform.os} | msgspec.to_builtins(platform),
            "Size": {"Unpacked": value.unpacked},
            "Containers": containers,
        }
    elif value.kind == "attestation":
        view["AttestationData"] = {"For": value.subject}
    return view


def summary(row: ImageSummary, version: Version, descriptor: Descriptor | None = None) -> dict[str, Any]:
    """One row of `GET /images/json`."""
    image = row.image
    tags, digests = list(image.repo_tags), list(image.repo_digests)
    if version < (1, 43) and not tags and not digests:
        tags, digests = ["<none>:<none>"], ["<none>@<none>"]
    view: dict[str, Any] = {
        "Containers": -1,
        "Created": row.created,
        "Id": image.id,
        "Labels": image.config.config.labels,
        "ParentId": row.parent_id,
    }
    if descriptor is not None and version >= (1, 48):
        view["Descriptor"] = msgspec.to_builtins(descriptor)
    view |= {"RepoDigests": digests, "RepoTags": tags, "SharedSize": row.shared_size, "Size": image.size}
    if version < (1, 44):
        view["VirtualSize"] = image.size
    return view


def inspect(
    image: Image,
    version: Version,
    *,
    parent: str = "",
    graph: dict[str, str] | None = None,
    tagged_at: str = ZERO,
    descriptor: Descriptor | None = None,
) -> dict[str, Any]:
    """`GET /images/{name}/json`."""
    spec = image.config
    view: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": parent,
        "Comment": spec.comment or (spec.history[-1].comment if spec.history else ""),
    }
    if spec.created:
        view["Created"] = spec.created
    elif version < (1, 44):
        view["Created"] = ZERO
    if version < (1, 45):
        view["Container"] = ""
        # Never null: Compose v1 and old docker-py look into it.
        view["ContainerConfig"] = config(RunConfig(), version)
    view |= {
        "DockerVersion": spec.docker_version,
        "Author": spec.author,
        "Config": config(spec.config, version),
        "Architecture": spec.architecture,
    }
    if spec.variant:
        view["Variant"] = spec.variant
    view["Os"] = spec.os
    if spec.os_version:
        view["OsVersion"] = spec.os_version
    view["Size"] = image.size
    if version < (1, 44):
        view["VirtualSize"] = image.size
    view |= {
        "GraphDriver": {"Data": graph, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": spec.rootfs.diff_ids} if spec.rootfs.diff_ids else {"Type": "layers"},
        "Metadata": {"LastTagTime": tagged_at},
    }
    if descriptor is not None and version >= (1, 48):
        view["Descriptor"] = msgspec.to_builtins(descriptor)
    return view


def history(rows: list[HistoryRow]) -> list[dict[str, Any]]:
    return [
        {
            "Comment": row.comment,
            "Created": row.created,
            "CreatedBy": row.created_by,
            "Id": row.id,
            "Size": row.size,
            "Tags": row.tags or None,
        }
        for row in rows
    ]


def deleted(rows: list[Deleted]) -> list[dict[str, str]]:
    return [{"Untagged": row.untagged} if row.untagged else {"Deleted": row.deleted} for row in rows]
