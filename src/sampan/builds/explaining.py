"""Why a step was not cached: the build before this one, remembered step by step, and what is different now.

A *trace* is what one build's steps were made from: instructions, files' digests, build arguments, base images. It is
kept under the name of what is built (its first tag, else its Dockerfile's name), and replaced by the next build's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from sampan.builds.cache import BuildCache
from sampan.builds.model import State
from sampan.builds.work import Step
from sampan.store import Documents

_MOST = 20_000
"""Files a step; beyond that only the step's own digest is remembered."""
_SHOWN = 3


class TraceStep(Struct, omit_defaults=True):
    """`inputs`: digests by file, values by `ARG NAME`."""

    text: str
    key: str
    parent: str
    inputs: dict[str, str] = field(default_factory=dict)


class Trace(Struct, omit_defaults=True):
    """`steps` by "stage/position"; `bases`: (name, key) by stage."""

    steps: dict[str, TraceStep] = field(default_factory=dict)
    bases: dict[str, tuple[str, str]] = field(default_factory=dict)


class Explanation:
    """One build's."""

    def __init__(self, traces: Documents[Trace], scope: str, cache: BuildCache, forced: str = "") -> None:
        """`forced`: the option that makes steps run anew."""
        self._traces, self._scope, self._cache, self._forced = traces, scope, cache, forced
        self._before = traces.get(scope)
        self._now = Trace()
        self._first: dict[int, tuple[int, str]] = {}

    def save(self, whole: bool = False) -> None:
        """What this build did not come to stays as it was: stages that it did not need, and the rest of those it did
        when it failed (not `whole`)."""
        before, now = self._before or Trace(), self._now
        if not now.steps and not now.bases:
            return
        kept = {
            place: step for place, step in before.steps.items() if not whole or place.partition("/")[0] not in now.bases
        }
        self._traces.put(self._scope, Trace({**kept, **now.steps}, {**before.bases, **now.bases}))

    # -- what happens ------------------------------------------------------------------------------
    def base(self, stage: int, name: str, key: str) -> None:
        self._now.bases[str(stage)] = (name, key)

    def done(self, stage: int, position: int, text: str, before: State, after: State, step: Step) -> None:
        inputs = step.inputs if len(step.inputs) <= _MOST else {}
        self._now.steps[f"{stage}/{position}"] = TraceStep(text, step.key or after.key, before.key, inputs)

    def reason(self, stage: int, position: int, text: str, state: State, step: Step) -> Callable[[str], str]:
        def tell(key: str) -> str:
            step.key = key
            found = self._reason(stage, position, text, state, step, key)
            if step.counts:
                self._first.setdefault(stage, (step.line, text))
            return found

        return tell

    # -- why ---------------------------------------------------------------------------------------
    def _reason(self, stage: int, position: int, text: str, state: State, step: Step, key: str) -> str:
        if step.anew:
            return f"{self._forced} was given"
        if self._before is None:
            return f"no earlier build of {self._scope} is known"
        earlier = self._before.steps.get(f"{stage}/{position}")
        if earlier is None:
            return "the instruction is new"
        if earlier.key == key:
            return self._lost(key, state)
        if earlier.text != text:
            if any(one.text == text for place, one in self._before.steps.items() if place.startswith(f"{stage}/")):
                return self._parent(stage, "the instructions before it changed")
            return f"the instruction changed: it was {earlier.text}"
        if files := _changed(earlier.inputs, step.inputs, ""):
            return files
        arguments = _changed(earlier.inputs, step.inputs, "ARG ")
        if stage in self._first:
            return self._above(stage, "") + (f"; {arguments}" if arguments else "")
        if arguments:
            return arguments
        if earlier.parent != state.key:
            return self._parent(stage, "a step before it changed")
        return "a variable that it uses has another value"

    def _lost(self, key: str, state: State) -> str:
        record = self._cache.known(key)
        if record is None:
            return "its result was pruned from the cache"
        if record.layer is not None and record.below != state.chain_id:
            return "the step before it was run again and gave other files"
        return "its layer is no longer on this machine"

    def _parent(self, stage: int, otherwise: str) -> str:
        before = self._before.bases.get(str(stage)) if self._before else None
        now = self._now.bases.get(str(stage))
        if stage not in self._first and before is not None and now is not None and before != now:
            if before[0] != now[0]:
                return f"the base changed: it was {before[0]}, and is {now[0]}"
            return f"the base {now[0]} changed: it was {_short(before[1])}, and is {_short(now[1])}"
        return self._above(stage, otherwise)

    def _above(self, stage: int, otherwise: str) -> str:
        first = self._first.get(stage)
        return f"line {first[0]} was not cached: {first[1]}" if first else otherwise


def _changed(before: Mapping[str, str], now: Mapping[str, str], kind: str) -> str:
    """Which files ("") or build arguments ("ARG ") are different."""
    if not before or not now:
        return ""
    told: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) == now.get(name) or name.startswith("ARG ") != bool(kind):
            continue
        if name.startswith("ARG "):
            was, value = before.get(name), now.get(name)
            told.append(f"build arg {name[4:]} changed: it was {was!r}, and is {value!r}")
        else:
            verb = "is new" if name not in before else "is gone" if name not in now else "changed"
            told.append(f"{name or '.'} {verb}")
    if len(told) > _SHOWN:
        told[_SHOWN:] = [f"{len(told) - _SHOWN} more"]
    return ", ".join(told)


def _short(key: str) -> str:
    return key.removeprefix("sha256:")[:12]
