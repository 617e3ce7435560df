"""Restart policies: does a container that ended start again, and when. Pure."""

from __future__ import annotations

from sampan.containers.model import RestartPolicy

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
SETTLED_AFTER = 10.0
"""A run of this many seconds forgives the failures before it."""


def wanted(policy: RestartPolicy | None, exit_code: int, manually_stopped: bool, restarts: int) -> bool:
    """`restarts` counts those that the policy made since the user last started the container."""
    match policy.name if policy else "":
        case "always":
            return True
        case "unless-stopped":
            return not manually_stopped
        case "on-failure":
            assert policy is not None
            limit = policy.maximum_retry_count
            return exit_code != 0 and (limit == 0 or restarts < limit)
    return False


def next_delay(delay: float, ran: float) -> float:
    """Seconds to wait before the next restart; `delay` is the last one (0 for none), `ran` how long the container
    did."""
    if delay == 0 or ran >= SETTLED_AFTER:
        return FIRST_DELAY
    return min(delay * 2, LONGEST_DELAY)
