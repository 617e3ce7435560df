"""time.Time in a template: what it prints, and the methods people call on it."""

from __future__ import annotations

import time

from sampan.cli.template.govalues import Stringer
from sampan.cli.units import local_time, parse_rfc3339, zone_offset
from sampan.golang import SECOND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
# Go's reference time in pieces, longest first where one begins another
_LAYOUT = (
    "January", "Jan", "Monday", "Mon", "MST", "2006", "Z07:00", "Z0700", "-07:00", "-0700", "-07",
    "002", "01", "02", "03", "04", "05", "06", "15", "PM", "pm", "_2", "1", "2", "3", "4", "5",
)  # fmt: skip


class Time(Stringer):
    """A moment with its zone, read from RFC 3339; text that is no time is shown as it is."""

    __slots__ = ("nanoseconds", "offset", "seconds", "source")
    go_type = "time.Time"

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self.seconds, self.nanoseconds, self.offset = parse_rfc3339(source)
        except ValueError:
            self.seconds = self.nanoseconds = self.offset = 0

    def __str__(self) -> str:
        fraction = f".{self.nanoseconds:09d}".rstrip("0").rstrip(".")
        zone = f"{zone_offset(self.offset)} " + (zone_offset(self.offset) if self.offset else "UTC")
        return f"{self.format('2006-01-02 15:04:05')}{fraction} {zone}"

    def to_json(self) -> object:
        return self.source

    def format(self, layout: str) -> str:
        """Go's Format: the layout with each piece of its reference time (2006-01-02 15:04:05) replaced."""
        parts = time.gmtime(self.seconds + self.offset)
        out: list[str] = []
        at = 0
        while at < len(layout):
            if layout[at] in ".," and layout[at + 1 : at + 2] in ("0", "9"):
                at = self._fraction(layout, at, out)
                continue
            piece = next((piece for piece in _LAYOUT if layout.startswith(piece, at)), None)
            out.append(layout[at] if piece is None else self._piece(piece, parts))
            at += 1 if piece is None else len(piece)
        return "".join(out)

    def _fraction(self, layout: str, at: int, out: list[str]) -> int:
        digit = layout[at + 1]
        end = at + 1
        while end < len(layout) and layout[end] == digit:
            end += 1
        if layout[end : end + 1].isdigit():
            out.append(layout[at])
            return at + 1
        digits = f"{self.nanoseconds:09d}"[: end - at - 1]
        if digit == "9":
            digits = digits.rstrip("0")
        out.append(layout[at] + digits if digits else "")
        return end

    def _piece(self, piece: str, parts: time.struct_time) -> str:
        zone = zone_offset(self.offset, ":" if ":" in piece else "")
        simple: dict[str, str] = {
            "January": _MONTHS[parts.tm_mon - 1],
            "Jan": _MONTHS[parts.tm_mon - 1][:3],
            "Monday": _DAYS[parts.tm_wday],
            "Mon": _DAYS[parts.tm_wday][:3],
            "MST": zone if self.offset else "UTC",
            "2006": f"{parts.tm_year:04d}",
            "06": f"{parts.tm_year % 100:02d}",
            "01": f"{parts.tm_mon:02d}",
            "1": str(parts.tm_mon),
            "002": f"{parts.tm_yday:03d}",
            "02": f"{parts.tm_mday:02d}",
            "_2": f"{parts.tm_mday:2d}",
            "2": str(parts.tm_mday),
            "15": f"{parts.tm_hour:02d}",
            "03": f"{(parts.tm_hour + 11) % 12 + 1:02d}",
            "3": str((parts.tm_hour + 11) % 12 + 1),
            "04": f"{parts.tm_min:02d}",
            "4": str(parts.tm_min),
            "05": f"{parts.tm_sec:02d}",
            "5": str(parts.tm_sec),
            "PM": "AM" if parts.tm_hour < 12 else "PM",
            "pm": "am" if parts.tm_hour < 12 else "pm",
            "-07": zone[:3],
        }
        if piece in simple:
            return simple[piece]
        return "Z" if piece[0] == "Z" and not self.offset else zone

    def local(self) -> str:
        return local_time(self.seconds, self.nanoseconds)

    go_methods: Mapping[str, Callable[..., object]] = {
        "Format": format,
        "String": __str__,
        "Local": local,
        "Unix": lambda self: self.seconds,
        "UnixNano": lambda self: self.seconds * SECOND + self.nanoseconds,
        "UTC": lambda self: self if not self.offset else Time(self._in_utc()),
        "IsZero": lambda self: self.seconds == -62135596800 and not self.nanoseconds,
        "Year": lambda self: time.gmtime(self.seconds + self.offset).tm_year,
        "Day": lambda self: time.gmtime(self.seconds + self.offset).tm_mday,
        "Hour": lambda self: time.gmtime(self.seconds + self.offset).tm_hour,
    }

    def _in_utc(self) -> str:
        moved = Time("1970-01-01T00:00:00Z")
        moved.seconds, moved.nanoseconds = self.seconds, self.nanoseconds
        return moved.format("2006-01-02T15:04:05.000000000Z07:00")
