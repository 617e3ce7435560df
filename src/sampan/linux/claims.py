"""Claims on names of a network namespace: who else uses this nftables table, this bridge?

A claim is a bound abstract unix socket (unix(7)): it has the network namespace's scope as these names have, ends with
the process however that ends, and leaves nothing behind.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from pathlib import Path

_PREFIX = "\0sampan/"


class Taken(Exception):
    """Process `pid` holds `name`."""

    def __init__(self, name: str, pid: int) -> None:
        super().__init__(f"{name} is held by process {pid}")
        self.name = name
        self.pid = pid


class Claims:
    """Holds names until `close`."""

    def __init__(self, names: Sequence[str]) -> None:
        """Raises `Taken`; nothing is held then."""
        self._sockets: list[socket.socket] = []
        for name in names:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            self._sockets.append(made)
            try:
                made.bind(_PREFIX + name)
                made.listen(1)
            except OSError:
                if pid := _holder(name):
                    self.close()
                    raise Taken(name, pid) from None

    def close(self) -> None:
        for one in self._sockets:
            one.close()


def _holder(name: str) -> int:
    """The pid of the root process outside of containers that holds it; 0 when it is none: anybody may bind any abstract
    name, and nobody shall keep the engine from starting that way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as made:
        made.settimeout(0)
        try:
            made.connect(_PREFIX + name)
            credentials = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid, uid, _ = struct.unpack("3i", credentials)
            is_ours = Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()
        except OSError:
            return 0
    return pid if uid == 0 and is_ours else 0
