"""Sizes and times as Docker writes them (go-units, Go's time package). Reading them is `values`' work."""

from __future__ import annotations

from sampan.golang import SECOND

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def _scaled(size: float, base: float, names: tuple[str, ...]) -> tuple[float, str]:
    index = 0
    while size >= base and index < len(names) - 1:
        size /= base
        index += 1
    return size, names[index]


def human_size(size: float, precision: int = 4) -> str:
    """Bytes in powers of 1000 with `precision` significant digits: 1.98MB."""
    value, unit = _scaled(size, 1000.0, _DECIMAL)
    return f"{value:.{precision}g}{unit}" if abs(value) < 10**precision else f"{go_exponent(value, precision)}{unit}"


def bytes_size(size: float) -> str:
    """Bytes in powers of 1024 with four significant digits: 15.5MiB."""
    value, unit = _scaled(size, 1024.0, _BINARY)
    return f"{value:.4g}{unit}" if abs(value) < 10**4 else f"{go_exponent(value, 4)}{unit}"


def go_exponent(value: float, precision: int) -> str:
    """%.Ng where the exponent shows; Python and Go agree on its two digits."""
    return f"{value:.{precision}g}"


def local_time(seconds: int, nanoseconds: int = 0) -> str:
    """A time in the zone of this machine as Go's Time.String() writes it: 2026-01-02 15:04:05 +0000 UTC."""
    import time

    local = time.localtime(seconds)
    shown = f"{local.tm_year:04d}-{local.tm_mon:02d}-{local.tm_mday:02d} "
    shown += f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
    if nanoseconds:
        shown += f".{nanoseconds:09d}".rstrip("0")
    return f"{shown} {zone_offset(local.tm_gmtoff)} {local.tm_zone}"


def zone_offset(seconds: int, colon: str = "") -> str:
    """+0130 (or +01:30) for a zone `seconds` east of UTC."""
    sign = "-" if seconds < 0 else "+"
    minutes = abs(seconds) // 60
    return f"{sign}{minutes // 60:02d}{colon}{minutes % 60:02d}"


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar; years before 1 are meant too (Go's zero time)."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def parse_rfc3339(text: str) -> tuple[int, int, int]:
    """(seconds since 1970, nanoseconds, zone offset in seconds) of 2026-01-02T03:04:05.678Z; ValueError else."""
    if len(text) < 20 or text[10] not in "Tt" or text[4] != "-" or text[7] != "-":
        raise ValueError(f"cannot parse {text!r} as a time")
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    rest = text[19:]
    nanoseconds = 0
    if rest.startswith("."):
        digits = rest[1:]
        end = len(digits) - len(digits.lstrip("0123456789"))
        nanoseconds = int(digits[:end][:9].ljust(9, "0"))
        rest = digits[end:]
    offset = 0
    if rest not in ("Z", "z"):
        if len(rest) != 6 or rest[0] not in "+-":
            raise ValueError(f"cannot parse {text!r} as a time")
        offset = (int(rest[1:3]) * 3600 + int(rest[4:6]) * 60) * (-1 if rest[0] == "-" else 1)
    seconds = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
    return seconds, nanoseconds, offset


def fixed_local_time(nanoseconds: int) -> str:
    """2026-01-02T15:04:05.000000000+01:00 in the zone of this machine, always nine digits, Z for UTC."""
    import time

    seconds, rest = divmod(nanoseconds, SECOND)
    local = time.localtime(seconds)
    zone = zone_offset(local.tm_gmtoff, ":") if local.tm_gmtoff else "Z"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}{zone}"
