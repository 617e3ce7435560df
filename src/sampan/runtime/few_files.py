"""`--ulimit nofile` smaller than what an OCI runtime itself opens on its way to the container's program.

The runtimes set the limit early: crun 1.8 then fails below 28 on cgroup v1, runc 1.1 below 12. So such a limit is left
out of the spec and put on init when it stands at the start gate: whatever it opened by then is open.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Mapping
from typing import Any

ENOUGH = 64


def taken_out(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[int, int] | None]:
    """(the spec without such a limit, the limit as (soft, hard))."""
    process = spec["process"]
    limits = process.get("rlimits") or ()
    few = next((limit for limit in limits if limit["type"] == "RLIMIT_NOFILE" and limit["soft"] < ENOUGH), None)
    if few is None:
        return spec, None
    others = [limit for limit in limits if limit is not few]
    return {**spec, "process": {**process, "rlimits": others}}, (few["soft"], few["hard"])


def put_on(pid: int, limit: tuple[int, int] | None) -> None:
    """Raises `ValueError`, `PermissionError` as prlimit(2) does."""
    if limit is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended: that is told elsewhere
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
