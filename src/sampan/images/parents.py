"""The directories a layer's entries go into: opened once, inside the root, and cached, because entries come
directory by directory.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable

from sampan.linux import openat2

_LIMIT = 128
_NOFOLLOW = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Replace = Callable[[bytes, int, bytes], None]
"""(name, open parent, base): removes what an earlier entry made there."""


class Parents:
    """O_PATH descriptors by name. What `get` returns is the cache's: valid until the next `get` or `forget`, never
    to be closed.
    """

    def __init__(self, root: int, replace: Replace) -> None:
        self._root, self._replace = root, replace
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def get(self, name: bytes) -> int:
        """The directory `name`, made when no entry announced it. Symlinks are followed, never out of the root."""
        if not name:
            return self._root
        descriptor = self._known.get(name)
        if descriptor is not None:
            return descriptor
        try:
            descriptor = openat2.open_in_root(self._root, name, os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            descriptor = self._make(name)
        self._known[name] = descriptor
        if len(self._known) > _LIMIT:
            os.close(self._known.popitem(last=False)[1])
        return descriptor

    def _make(self, name: bytes) -> int:
        """Step by step from the deepest one that is cached: a path may have two thousand components."""
        start = name.rpartition(b"/")[0]
        while start and start not in self._known:
            start = start.rpartition(b"/")[0]
        descriptor = os.dup(self._known[start] if start else self._root)
        path = start
        for base in name[len(start) :].lstrip(b"/").split(b"/"):
            path = path + b"/" + base if path else base
            try:
                below = self._step(path, descriptor, base)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _step(self, path: bytes, parent: int, base: bytes) -> int:
        """A file in the way is replaced, as by any later entry; of a dangling symlink the target is made, inside."""
        try:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            found = 0
        if stat.S_ISLNK(found):
            return openat2.mkdirs_in_root(self._root, path)
        if found and not stat.S_ISDIR(found):
            self._replace(path, parent, base)
            found = 0
        if not found:
            os.mkdir(base, 0o755, dir_fd=parent)
        return os.open(base, _NOFOLLOW, dir_fd=parent)

    def forget(self, keep: int = -1) -> None:
        """Closes all but the one in use: a name may mean another directory now."""
        kept: OrderedDict[bytes, int] = OrderedDict()
        for name, descriptor in self._known.items():
            if descriptor == keep:
                kept[name] = descriptor
            else:
                os.close(descriptor)
        self._known = kept
