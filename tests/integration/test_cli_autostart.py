"""Root asks, nobody answers: `sampan` starts the daemon. In namespaces of its own, as the default paths are meant."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# Everything the daemon would write to is a fresh tmpfs; the pid namespace's end is the daemon's end.
PREPARE = """
set -e
for place in /run /var/lib /var/log; do mount -t tmpfs none $place; done
ip link set lo up
sampan() { "$PYTHON" -m sampan.cli.main "$@"; }
daemons() { "$PYTHON" -c "$DAEMONS"; }
"""

DAEMONS = """
import os
from pathlib import Path
for process in Path('/proc').glob('[0-9]*'):
    words = (process / 'cmdline').read_bytes().split(bytes(1))
    if words[1:3] == [b'-m', b'sampan.daemon']:
        print('session of its own' if os.getsid(int(process.name)) == int(process.name) else 'our session')
"""


def machine(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "SAMPAN_"))}
    return subprocess.run(
        ["unshare", "-mnp", "--fork", "--mount-proc", "sh", "-c", PREPARE + script],
        env={**clean, "PYTHON": sys.executable, "DAEMONS": DAEMONS, **environment},
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_first_command_starts_a_daemon_that_stays() -> None:
    done = machine(
        """
        sampan version --format '{{.Server.Version}}'
        sampan images -q
        daemons
        test -S /run/sampan/sampan.sock && test -s /var/log/sampand.log && echo there
        """
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["session of its own", "there"], done


def test_it_can_be_turned_off() -> None:
    done = machine("sampan ps || echo $?; daemons", SAMPAN_AUTOSTART="0")
    assert done.stdout.split() == ["1"]
    assert done.stderr == (
        "Cannot connect to the Sampan daemon at unix:///run/sampan/sampan.sock. Is the Sampan daemon running?\n"
    )


def test_an_address_that_was_given_is_never_started() -> None:
    done = machine("sampan -H unix:///run/sampan/sampan.sock ps || echo $?; daemons")
    assert done.stdout.split() == ["1"]


def test_a_daemon_that_cannot_start_tells_why() -> None:
    done = machine(
        """
        mount -t tmpfs none /etc && mkdir /etc/sampan
        echo '{"bogus": 1}' > /etc/sampan/daemon.json
        sampan ps || echo $?
        """
    )
    assert done.stdout == "1\n"
    assert "starting one failed: " in done.stderr and "bogus" in done.stderr
    assert "/var/log/sampand.log" in done.stderr
