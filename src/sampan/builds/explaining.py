"""Why a step was not cached."""

from __future__ import annotations

from collections.abc import Callable

from sampan.builds.model import State
from sampan.builds.work import Step


class Explanation:
    def base(self, index: int, name: str, key: str) -> None: ...

    def reason(self, index: int, position: int, text: str, state: State, step: Step) -> Callable[[str], str]:
        return lambda key: ""

    def done(self, index: int, position: int, text: str, before: State, after: State, step: Step) -> None: ...
