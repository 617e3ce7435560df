"""pidfds, mountinfo, inotify: what needs no privileges."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

from sampan.linux import inotify, mounts, pidfd


async def test_a_process_is_known_by_its_start_and_waited_for_without_a_thread() -> None:
    with subprocess.Popen(["sleep", "100"]) as child:  # noqa: ASYNC220
        started = pidfd.start_time(child.pid)
        assert started is not None and pidfd.parent(child.pid) == os.getpid()
        descriptor = pidfd.open_pidfd(child.pid)
        assert descriptor is not None and not pidfd.has_ended(descriptor)
        assert not pidfd.send_signal(child.pid, signal.SIGKILL, started + 1), "another process: left alone"
        assert pidfd.send_signal(child.pid, signal.SIGKILL, started)
        await asyncio.wait_for(pidfd.ended(descriptor), 5)
        assert pidfd.has_ended(descriptor) and pidfd.state(child.pid) == "Z"
        os.close(descriptor)
    assert pidfd.open_pidfd(child.pid) is None and pidfd.state(child.pid) is None
    assert not pidfd.send_signal(child.pid, signal.SIGTERM)


def test_a_command_name_cannot_forge_its_state(tmp_path: Path) -> None:
    program = tmp_path / "x) Z 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "100"]) as child:
        assert pidfd.state(child.pid) in ("S", "R", "D") and pidfd.parent(child.pid) == os.getpid()
        child.kill()


def test_mountinfo_lines() -> None:
    line = r"36 35 98:0 /a\040b /mnt\134x rw,noatime shared:1 master:2 - ext3 /dev/ro\011ot rw,errors=continue"
    found = mounts.MountInfo(line)
    assert (found.id, found.parent, found.device, found.root, found.mount_point) == (36, 35, "98:0", "/a b", "/mnt\\x")
    assert (found.tags, found.fstype, found.source) == (["shared:1", "master:2"], "ext3", "/dev/ro\tot")
    assert any(mount.mount_point == "/proc" for mount in mounts.mountinfo())
    assert mounts.is_mounted("/proc") and not mounts.is_mounted("/proc/self") and not mounts.is_mounted("/nosuch")


async def test_inotify_tells_and_ends(tmp_path: Path) -> None:
    watcher = inotify.Inotify()
    number = watcher.watch(tmp_path, inotify.CREATE | inotify.MOVED_TO)
    (tmp_path / "a").touch()
    (tmp_path / "a").rename(tmp_path / "b")
    seen = [(event.watch, event.name) for event in await asyncio.wait_for(watcher.wait(), 5)]
    assert seen == [(number, "a"), (number, "b")]
    waiting = asyncio.create_task(watcher.wait())
    await asyncio.sleep(0)
    watcher.close()
    assert await asyncio.wait_for(waiting, 5) == []
