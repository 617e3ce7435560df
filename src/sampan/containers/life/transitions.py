"""The only writer of a container's status: every change goes through `change`, and `model.TRANSITIONS` decides."""

from __future__ import annotations

from sampan.containers.model import TRANSITIONS, State, Status


def change(state: State, to: Status) -> None:
    """Raises `RuntimeError` for a change that the table does not allow: a bug, never a user's mistake."""
    if to not in TRANSITIONS[state.status]:
        raise RuntimeError(f"a container cannot go from {state.status} to {to}")
    state.status = to


def running(state: State, pid: int, conmon_pid: int, started_at: int) -> None:
    change(state, Status.RUNNING)
    state.pid, state.conmon_pid, state.started_at = pid, conmon_pid, started_at
    state.exit_code, state.error, state.oom_killed = 0, "", False


def ended(state: State, to: Status, exit_code: int, finished_at: int, oom_killed: bool = False) -> None:
    """`to` is EXITED or RESTARTING."""
    change(state, to)
    state.pid = state.conmon_pid = 0
    state.exit_code, state.finished_at = exit_code, finished_at
    state.oom_killed = state.oom_killed or oom_killed


def failed_to_start(state: State, exit_code: int, error: str) -> None:
    """The status stays what it was, as Docker leaves it: created, or exited."""
    state.exit_code, state.error = exit_code, error
    if state.status is Status.RESTARTING:
        change(state, Status.EXITED)
