"""Values that flags and daemon.json write alike. Raise `ValueError`. Pure."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LIMIT = re.compile(r"(unused|size)=(\d+(?:\.\d+)?)([a-z]+)", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b)?", re.IGNORECASE)


def limits(text: str) -> tuple[float, int]:
    """(seconds, bytes) of `unused=720h,size=50GB`."""
    found = {"unused": 0.0, "size": 0.0}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        units = (_UNITS if match[1].lower() == "unused" else _SIZES) if match else {}
        if match is None or match[3].lower() not in units or not float(match[2]):
            raise ValueError(f"{part!r}: use unused=720h (s, m, h, d), size=50GB (MB, GB, TB), or both with a comma")
        found[match[1].lower()] = float(match[2]) * units[match[3].lower()]
    return found["unused"], int(found["size"])


def size(text: str) -> int:
    """Bytes of `64M`, powers of 1024 (Docker's units.RAMInBytes)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))


def human_size(text: str) -> int:
    """Bytes of `20GB`, powers of 1000 (units.FromHumanSize), as BuildKit's keep-storage is read."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * 1000 ** " kmgtp".index(match[2].lower() or " "))


def without_credentials(url: str) -> str:
    """dockerd's masking of a proxy's user and password."""
    return re.sub(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", r"\1xxxxx:xxxxx@", url, flags=re.IGNORECASE)


def ulimit(text: str) -> tuple[str, tuple[int, int]]:
    """(name, (soft, hard)) of `nofile=1024:2048` (units.ParseUlimit)."""
    name, equals, rest = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    soft, colon, hard = rest.partition(":")
    try:
        found = int(soft), int(hard) if colon else int(soft)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{rest}": invalid syntax') from None
    check_ulimit(name, *found)
    return name, found


ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()  # noqa: SIM905
)


def check_ulimit(name: str, soft: int, hard: int) -> None:
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    if soft > hard != -1:
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
