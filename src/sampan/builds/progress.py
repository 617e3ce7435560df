"""What a build tells while it works: typed events, in the order they happen, for whichever front door draws them.

`step` numbers the steps of one build from 0, in the order of the Dockerfile; steps of different stages run side by
side, so their events mix. `InOrder` gives them back one step after the other, for streams that know no other way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace


class Event(Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    step: int = -1


class Planned(Event, frozen=True, kw_only=True, tag="planned"):
    """Once, before any step: how many there are."""

    total: int


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """`text` is the instruction as written, `name` how BuildKit shows it: `[stage 2/5] RUN make`."""

    text: str
    name: str
    line: int
    keyword: str


class Cached(Event, frozen=True, kw_only=True, tag="cached"):
    """The step's result was there already. `id` names it."""

    id: str


class Missed(Event, frozen=True, kw_only=True, tag="missed"):
    """The step has to run, and why."""

    reason: str


class Running(Event, frozen=True, kw_only=True, tag="running"):
    id: str


class Output(Event, frozen=True, kw_only=True, tag="output"):
    """`stream` is 1 for stdout, 2 for stderr."""

    stream: int
    data: bytes


class Pulled(Event, frozen=True, kw_only=True, tag="pulled"):
    """A message of a pull, as the images room words it."""

    message: dict[str, Any]


class Noted(Event, frozen=True, kw_only=True, tag="noted"):
    """A line to show as it is."""

    text: str


class Removed(Event, frozen=True, kw_only=True, tag="removed"):
    """What the step ran in is gone."""

    id: str


class Done(Event, frozen=True, kw_only=True, tag="done"):
    """`id` names the step's result: an image's id for FROM and for the last step, else the cache's."""

    id: str
    seconds: float = 0.0


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    message: str
    code: int = 0
    excerpt: str = ""


class Warned(Event, frozen=True, kw_only=True, tag="warned"):
    """A lint rule's finding, or what else deserves a word. `excerpt` shows the lines."""

    rule: str
    message: str
    url: str = ""
    line: int = 0
    excerpt: str = ""


class Around(Event, frozen=True, kw_only=True, tag="around"):
    """Something that is done around the Dockerfile's steps: told when it begins, and (`ended`) when it has ended."""

    number: int
    name: str
    ended: bool = False
    seconds: float = 0.0
    error: str = ""
    lines: list[str] = []
    """What came of it."""


class Exporting(Event, frozen=True, kw_only=True, tag="exporting"):
    """A stream that the client has to fetch, by its token: for `output`, counted from 0, or for `cache`."""

    token: str
    output: int = -1
    cache: int = -1


class Described(Event, frozen=True, kw_only=True, tag="described"):
    """In place of a build: what the Dockerfile offers."""

    what: dict[str, Any]


class Finished(Event, frozen=True, kw_only=True, tag="finished"):
    """The image, and the names it got. `manifest` is what they stand for, `described` its descriptor; `image` is ""
    when there are several."""

    image: str
    tags: list[str] = []
    manifest: str = ""
    described: dict[str, Any] = {}
    provenance: dict[str, Any] = {}


AnyEvent = (
    Planned
    | Started
    | Cached
    | Missed
    | Running
    | Output
    | Pulled
    | Noted
    | Removed
    | Done
    | Failed
    | Warned
    | Around
    | Exporting
    | Described
    | Finished
)
Listener = Callable[[AnyEvent], None]
"""A listener may have a method `drain(step)`: None, or what to wait for before the step's output goes on."""
_HELD = 8 << 20
"""Bytes of a later step's output that wait for their turn; then the step waits."""
_PATIENCE = 5.0
"""Seconds it does so before each further piece of output."""


class Offset:
    """One of several builds that share a stream: its steps are numbered from `first` on, and named after `platform`."""

    def __init__(self, listener: Listener, first: int, platform: str) -> None:
        self._listener, self._first, self._platform = listener, first, platform

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Planned):
            return  # the whole has told it
        if event.step >= 0:
            event = replace(event, step=event.step + self._first)
        if isinstance(event, Started):
            own = event.name.startswith("[") and not event.name.startswith("[internal]")
            name = f"[{self._platform} {event.name[1:]}" if own else f"[{self._platform}] {event.name}"
            event = replace(event, name=name)
        self._listener(event)

    def drain(self, step: int) -> Awaitable[None] | None:
        drain: Callable[[int], Awaitable[None] | None] | None = getattr(self._listener, "drain", None)
        return drain(step + self._first) if drain is not None else None


class InOrder:
    """Passes the events of the lowest step that is not done on, and holds those of later steps back until it is."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._current = 0
        self._held: dict[int, list[AnyEvent]] = {}
        self._sizes: dict[int, int] = {}
        self._turns: dict[int, asyncio.Event] = {}

    def __call__(self, event: AnyEvent) -> None:
        if event.step > self._current:
            self._held.setdefault(event.step, []).append(event)
            if isinstance(event, Output):
                self._sizes[event.step] = self._sizes.get(event.step, 0) + len(event.data)
            return
        self._listener(event)
        if event.step == self._current and isinstance(event, Done):
            self._advance()

    def drain(self, step: int) -> Awaitable[None] | None:
        """Steps wait for those before them, so that holding one back stops no other. But for the triggers of a base
        image, which may name a stage further down: hence nobody is held for ever.
        """
        if step > self._current:
            return self._turn(step) if self._sizes.get(step, 0) > _HELD else None
        drain: Callable[[int], Awaitable[None] | None] | None = getattr(self._listener, "drain", None)
        return drain(step) if drain is not None else None

    async def _turn(self, step: int) -> None:
        turn = self._turns.setdefault(step, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(turn.wait(), _PATIENCE)

    def flush(self) -> None:
        """The build is over: what a failure left waiting is told, except of steps that were merely cut short."""
        for step in sorted(self._held):
            events = self._held[step]
            if any(isinstance(event, Failed | Done) for event in events):
                for event in events:
                    self._listener(event)
        self._held = {}

    def _advance(self) -> None:
        done = True
        while done:
            self._current += 1
            if (turn := self._turns.pop(self._current, None)) is not None:
                turn.set()
            events = self._held.pop(self._current, [])
            for event in events:
                self._listener(event)
            done = any(isinstance(event, Done) for event in events)
