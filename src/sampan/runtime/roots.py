"""Before an OCI runtime sees a root filesystem: the directories that it will mount over are directories.

runc 1.1 makes /dev/fd, stdin, stdout, stderr and ptmx through `<rootfs>/dev` before it enters the root: an image whose
/dev is a symlink `../../../…` has them made on the host. dockerd is safe because its init layer puts directories there;
so do we.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any

from sampan.linux import openat2

_DIRECTORIES = ("dev", "proc", "sys")


def secure(spec: Mapping[str, Any]) -> None:
    """Of the root that a spec names. Whatever else is at /dev, /proc or /sys is replaced by an empty directory."""
    with openat2.root(spec["root"]["path"]) as root:
        for name in _DIRECTORIES:
            try:
                found = os.stat(name, dir_fd=root, follow_symlinks=False)
            except FileNotFoundError:
                continue  # the runtime makes it
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(name, dir_fd=root)
                os.mkdir(name, 0o755, dir_fd=root)
