"""Nothing that was acknowledged is lost and nothing half-made stays, whenever `sampand` is killed.

`SAMPAN_CHAOS=300` runs that many rounds with 20 steady containers (some five minutes) instead of CI's few.
`SAMPAN_CHAOS_SEED` gives another run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from support.daemon import REPOSITORY
from support.registry import binary

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare"),
    pytest.mark.skipif(binary() is None, reason="needs docker-registry, which test.sh unpacks"),
]

ROUNDS = int(os.environ.get("SAMPAN_CHAOS", "25"))
SEED = os.environ.get("SAMPAN_CHAOS_SEED", "1")


def run(program: str, *arguments: str, timeout: float) -> str:
    """A program of `support` in network and mount namespaces of its own: what it sees there is the daemon's. Asked to
    end (SIGTERM) when it takes too long, so that it leaves nothing."""
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", sys.executable, "-m", f"support.{program}", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/tests:{os.environ.get('PYTHONPATH', '')}".rstrip(":")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    except BaseException:
        process.terminate()
        said, _ = process.communicate(timeout=60)
        print(said[-8000:])
        raise
    assert process.returncode == 0, said[-12000:]
    return said


@pytest.mark.timeout(120 + 6 * ROUNDS)
def test_killed_at_random_moments_the_daemon_keeps_its_promises() -> None:
    print(run("chaos", str(ROUNDS), SEED, "20" if ROUNDS > 100 else "5", timeout=60 + 6 * ROUNDS))
