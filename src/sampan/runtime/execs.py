"""Processes beside a container's own: each has a conmon of its own, in a directory of its own below the bundle."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sampan.linux import pidfd
from sampan.runtime import attachment, conmon, exits, failures
from sampan.runtime.attachment import Attachment
from sampan.runtime.binaries import OCIRuntime
from sampan.runtime.bundle import Bundle
from sampan.runtime.exits import Exits
from sampan.runtime.holding import Keep, read_pid
from sampan.runtime.invocation import Invocation


class Execs:
    def __init__(self, program: str, invocation: Invocation, reports: Exits, keep: Keep) -> None:
        self._conmon = program
        self._invocation = invocation
        self._reports = reports
        self._keep = keep

    async def run(
        self,
        bundle: Bundle,
        exec_id: str,
        process: Mapping[str, Any],
        chosen: OCIRuntime,
        *,
        tty: bool,
        stdin: bool,
        attached: bool,
    ) -> tuple[int, int, Attachment | None]:
        """(pid, conmon's pid, stream). Raises `StartFailed`; nothing stays then."""
        place = bundle.exec(exec_id)
        place.mkdir(mode=0o700, parents=True)
        (place / "process.json").write_bytes(msgspec.json.encode(process))
        command = conmon.Command(
            conmon=self._conmon,
            runtime=chosen.command[0],
            runtime_arguments=self._invocation.arguments(chosen, place / "runtime.log"),
            id=bundle.id,
            directory=place,
            log="none",
            tty=tty,
            stdin=stdin,
            leave_stdin_open=tty,
            process=place / "process.json",
            attach=attached,
        )
        stream: Attachment | None = None
        started: conmon.Conmon | None = None
        try:
            started = conmon.spawn(command, self._invocation.environment)
            if attached:
                await started.attachable()
                stream = await attachment.connect(
                    place / "attach", tty=tty, stdin=stdin, closes_stdin=stdin and not tty
                )
                started.go()
            pid = await started.created()
        except BaseException as error:
            if started is not None:
                started.close()
            if stream is not None:
                await stream.close()
            reason = failures.last_error(place / "runtime.log")
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, conmon.ConmonFailed):
                raise failures.exec_failed(reason or error.reason, process["args"][0]) from None
            raise
        if stream is not None:
            stream.follow(pid)
        started.close(keep_sync=True)
        self._keep(self._await_end(bundle.id, place, started.sync, pid), f"exec {exec_id}")
        return pid, read_pid(place / "conmon.pid"), stream

    async def _await_end(self, id: str, place: Path, sync: conmon.Pipe, pid: int) -> None:
        started = pidfd.start_time(pid)
        try:
            await sync.message()  # the exit code; the file has it too, with its time
        finally:
            sync.close()
        exit = exits.exec_exit(id, place.name, place)
        if exit is None:  # conmon was killed
            pidfd.send_signal(pid, signal.SIGKILL, started)
            exit = exits.lost(id, place.name)
        self._reports.put(exit)

    def kill(self, bundle: Bundle, exec_id: str, number: int) -> bool:
        """False when it has ended."""
        place = bundle.exec(exec_id)
        pid, keeper = read_pid(place / "pidfile"), read_pid(place / "conmon.pid")
        return bool(pid) and pidfd.parent(pid) == keeper and pidfd.send_signal(pid, number)

    def recover(self, bundle: Bundle) -> list[str]:
        """Watches those an earlier daemon began. Returns the ids of those that still run; the others' exits are
        reported."""
        running: list[str] = []
        for place in sorted(bundle.execs.iterdir()) if bundle.execs.is_dir() else []:
            if self._report(bundle.id, place):
                continue
            if conmon.is_conmon_of(read_pid(place / "conmon.pid"), bundle.id):
                running.append(place.name)
                self._reports.watch_directory(place, lambda place=place: self._report(bundle.id, place))  # type: ignore[misc]
            else:
                self._reports.put(exits.lost(bundle.id, place.name))
        return running

    def _report(self, id: str, place: Path) -> bool:
        exit = exits.exec_exit(id, place.name, place)
        if exit is not None:
            self._reports.put(exit)
        return exit is not None
