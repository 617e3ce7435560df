"""Thin, typed system calls: what the rooms above need of the kernel and no library gives them.

`mounts` (overlay, bind, tmpfs, unmount, mountinfo) · `namespaces` (named network namespaces, work inside a namespace)
· `openat2` (paths that cannot leave a root) · `pidfd` (signals and waiting without pid reuse) · `inotify` (an asyncio
watcher). Everything raises `OSError`; nothing here knows containers."""

from sampan.linux import inotify, mounts, namespaces, openat2, pidfd

__all__ = ["inotify", "mounts", "namespaces", "openat2", "pidfd"]
