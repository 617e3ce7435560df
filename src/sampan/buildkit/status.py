"""What a build tells, as BuildKit's status: vertexes (the steps), their logs, counters and warnings.

Everything is kept until the build is forgotten: a client may ask for the status after the first step has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from sampan.buildkit.wire_pb2 import (
    Position,
    Range,
    SourceInfo,
    StatusResponse,
    Vertex,
    VertexLog,
    VertexStatus,
    VertexWarning,
)
from sampan.builds.dockerfile.rules import RULES
from sampan.builds.progress import AnyEvent, Cached, Done, Failed, Noted, Output, Pulled, Started, Warned

_SILENT = frozenset(
    "ARG CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL MAINTAINER ONBUILD SHELL STOPSIGNAL USER VOLUME".split()  # noqa: SIM905
)
"""Instructions that only change the configuration: BuildKit does not show them."""
_CLASSIC = re.compile(r"The command '(.*)' returned a non-zero code: ([0-9]+)", re.DOTALL)
_KEPT = 16 << 20
"""Bytes of a build's logs; more is dropped and said, as BuildKit does (2 MiB a step there)."""
_MESSAGE = 128
"""What a message costs beside its text: a program may print byte by byte."""


def _now() -> Timestamp:
    return _stamp(time.time_ns())


def _stamp(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


class Feed:
    """Status messages of one build, for any number of readers from the beginning."""

    def __init__(self) -> None:
        self._messages: list[StatusResponse] = []
        self.ended = False
        self._changed = asyncio.Event()
        self._logged = 0

    def tell(self, message: StatusResponse) -> None:
        if not self.ended:  # another build may still be based on a result of this one
            self._messages.append(message)
            self._changed.set()

    def end(self) -> None:
        self.ended = True
        self._changed.set()

    def forget(self) -> None:
        """Nobody will ask any more; results are remembered longer, and their build with them."""
        self._messages.clear()

    def log(self, vertex: str, stream: int, data: bytes) -> None:
        if self._logged > _KEPT:
            return
        self._logged += len(data) + _MESSAGE
        if self._logged > _KEPT:
            data = b"\n[output clipped, log limit reached]\n"
        entry = VertexLog(vertex=vertex, timestamp=_now(), stream=stream, msg=data)
        self.tell(StatusResponse(logs=[entry]))

    async def __aiter__(self) -> AsyncIterator[StatusResponse]:
        position = 0
        while True:
            while position < len(self._messages):
                position += 1
                yield self._messages[position - 1]
            if self.ended:
                return
            self._changed.clear()
            await self._changed.wait()


class Step:
    """A vertex of our own making: something that is done around the Dockerfile's steps."""

    def __init__(self, feed: Feed, name: str, key: str) -> None:
        self._feed = feed
        self._vertex = Vertex(digest=_digest(key), name=name, started=_now())
        self._counted = 0.0

    def __enter__(self) -> Step:
        self._feed.tell(StatusResponse(vertexes=[self._vertex]))
        return self

    def count(self, name: str, current: int, total: int = 0, *, done: bool = False) -> None:
        """About ten a second."""
        now = time.monotonic()
        if not done and now - self._counted < 0.1:
            return
        self._counted = now
        status = VertexStatus(
            id=name, vertex=self._vertex.digest, current=current, total=total, timestamp=_now(),
            started=self._vertex.started,
        )  # fmt: skip
        if done:
            status.completed.CopyFrom(_now())
        self._feed.tell(StatusResponse(statuses=[status]))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._vertex.completed.CopyFrom(_now())
        if error is not None:
            self._vertex.error = "context canceled" if isinstance(error, asyncio.CancelledError) else str(error)
        self._feed.tell(StatusResponse(vertexes=[self._vertex]))


def _digest(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


class Steps:
    """A build's listener. `failed` is the step that was at fault, as its lines in the Dockerfile."""

    def __init__(self, feed: Feed, key: str) -> None:
        self._feed, self._key = feed, key
        self._vertexes: dict[int, Vertex] = {}
        self._lines: dict[int, int] = {}
        self._pulls: dict[str, VertexStatus] = {}
        self.dockerfile: tuple[str, bytes] | None = None
        """Name and content."""
        self.failed = 0
        """The line of the instruction that failed; 0 for none."""

    def step(self, name: str) -> Step:
        return Step(self._feed, name, f"{self._key} {name}")

    def __call__(self, event: AnyEvent) -> None:
        match event:
            case Started():
                self._lines[event.step] = event.line
                if event.keyword.upper() in _SILENT:
                    return
                key = f"{self._key} {event.step}"
                self._vertexes[event.step] = Vertex(digest=_digest(key), name=event.name, started=_now())
                self._tell(event.step)
            case Cached():
                if (vertex := self._vertexes.get(event.step)) is not None:
                    vertex.cached = True
            case Done():
                self._complete(event.step)
            case Failed():
                self.failed = self.failed or self._lines.get(event.step, 0)
                self._complete(event.step, worded(event.message))
            case Output():
                if (vertex := self._vertexes.get(event.step)) is not None:
                    self._feed.log(vertex.digest, event.stream, event.data)
            case Pulled():
                self._pulled(event)
            case Warned():
                self._warned(event)
            case Noted():
                if (vertex := self._vertexes.get(event.step)) is not None:
                    self._feed.log(vertex.digest, 1, event.text.rstrip("\n").encode() + b"\n")

    def _tell(self, step: int) -> None:
        self._feed.tell(StatusResponse(vertexes=[self._vertexes[step]]))

    def _complete(self, step: int, error: str = "") -> None:
        if (vertex := self._vertexes.get(step)) is not None and not vertex.HasField("completed"):
            vertex.completed.CopyFrom(_now())
            vertex.error = error
            self._tell(step)

    def _pulled(self, event: Pulled) -> None:
        """A layer's counter, on the FROM that asked for it."""
        vertex, message = self._vertexes.get(event.step), event.message
        layer, status = message.get("id", ""), message.get("status", "")
        if vertex is None or not layer or not status:
            return
        detail = message.get("progressDetail") or {}
        entry = self._pulls.get(f"{event.step} {layer}")
        if entry is None:
            entry = self._pulls[f"{event.step} {layer}"] = VertexStatus(id=layer, vertex=vertex.digest, started=_now())
        entry.name = status.lower()
        entry.current, entry.total = detail.get("current", entry.current), detail.get("total", entry.total)
        entry.timestamp.CopyFrom(_now())
        if status in ("Pull complete", "Already exists"):
            entry.completed.CopyFrom(_now())
        copied = VertexStatus()
        copied.CopyFrom(entry)
        self._feed.tell(StatusResponse(statuses=[copied]))

    def _warned(self, event: Warned) -> None:
        place = f" (line {event.line})" if event.line else ""
        warning = VertexWarning(
            vertex=_digest(f"{self._key} warnings"),
            level=1,
            short=f"{event.rule}: {event.message}{place}".encode(),
            detail=[rule.description.encode() for rule in RULES if rule.name == event.rule],
            url=event.url,
        )
        if event.line and self.dockerfile is not None:
            name, source = self.dockerfile
            warning.info.CopyFrom(SourceInfo(filename=name, data=source, language="Dockerfile"))
            warning.ranges.append(Range(start=Position(line=event.line), end=Position(line=event.line)))
        self._feed.tell(StatusResponse(warnings=[warning]))


def worded(message: str) -> str:
    """A command's end in BuildKit's words."""
    if found := _CLASSIC.fullmatch(message):
        return f'process "{found[1]}" did not complete successfully: exit code: {found[2]}'
    return message
