"""Counters in Prometheus' text format (exposition format 0.0.4)."""

from __future__ import annotations

from collections import Counter

_BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
_HELP = {
    "requests_total": ("counter", "Requests answered."),
    "request_seconds": ("histogram", "Time to answer."),
    "received_bytes_total": ("counter", "Bytes of request bodies."),
    "sent_bytes_total": ("counter", "Bytes of answers' bodies."),
    "requests_running": ("gauge", "Requests being answered."),
    "mirror_total": ("counter", "What the mirror found here (hit), fetched (miss), or served stale."),
    "collected_total": ("counter", "What collection removed."),
    "collections_total": ("counter", "Collections that ran to their end."),
}


class Metrics:
    """`add("requests_total", 1, route="blob", code="200")`."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        text = ",".join(f'{key}="{label}"' for key, label in labels.items())
        self._values[name, text] += value  # type: ignore[assignment]

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One value of a histogram."""
        for bound in _BUCKETS:
            if value <= bound:
                self.add(f"{name}_bucket", 1, **labels, le=str(bound))
            else:
                self.add(f"{name}_bucket", 0, **labels, le=str(bound))
        self.add(f"{name}_bucket", 1, **labels, le="+Inf")
        self.add(f"{name}_sum", value, **labels)
        self.add(f"{name}_count", 1, **labels)

    def text(self) -> str:
        lines: list[str] = []
        for family, (kind, help) in _HELP.items():
            own = [
                (name, labels, value)
                for (name, labels), value in self._values.items()
                if name == family or (kind == "histogram" and name.rpartition("_")[0] == family)
            ]
            if own:
                lines += [f"# HELP sampan_registry_{family} {help}", f"# TYPE sampan_registry_{family} {kind}"]
            for name, labels, value in own:
                shown = f"{{{labels}}}" if labels else ""
                lines.append(f"sampan_registry_{name}{shown} {value:.17g}")
        return "\n".join(lines) + "\n"
