"""A volume's document, and the rules for its name."""

from __future__ import annotations

import re
import secrets

import msgspec

from sampan.errors import InvalidParameter

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
"""Marks a volume nobody named: prune's default prey (Docker 23)."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Volume(msgspec.Struct, rename="pascal", omit_defaults=True, kw_only=True):
    """The stored document. `created` is nanoseconds since the epoch."""

    name: str = ""
    driver: str = "local"
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    created: int = 0
    anonymous: bool = False


def random_name() -> str:
    """For an anonymous volume: 64 hex digits."""
    return secrets.token_hex(32)


def check_name(name: str) -> None:
    """Raises `InvalidParameter` in the words that tell the user of the forgotten slash."""
    if len(name) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > 240:
        raise InvalidParameter(f"create {name}: volume name is too long, at most 240 characters are allowed")
