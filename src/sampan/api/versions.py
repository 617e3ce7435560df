"""API versions: what is spoken, and how a request names one."""

from __future__ import annotations

from sampan.errors import InvalidParameter

Version = tuple[int, int]

MINIMUM: Version = (1, 24)
MAXIMUM: Version = (1, 51)


def text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def negotiate(requested: str) -> Version:
    """The version of a `/v<requested>/…` path. Raises `InvalidParameter` outside what is spoken, in the daemon's own
    words: clients match on them to fall back."""
    parts = requested.split(".")
    numbers = [int(part) if part else 0 for part in parts[:2]]
    version = (numbers[0], numbers[1] if len(numbers) > 1 else 0)
    if version < MINIMUM:
        raise InvalidParameter(
            f"client version {requested} is too old. Minimum supported API version is {text(MINIMUM)}, "
            "please upgrade your client to a newer version"
        )
    if version > MAXIMUM:
        raise InvalidParameter(
            f"client version {requested} is too new. Maximum supported API version is {text(MAXIMUM)}"
        )
    return version
