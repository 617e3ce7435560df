"""The front door of the runtime: conmon holds, crun or runc runs.

The order of one run: `create` (conmon starts the OCI runtime's create; the container's init waits), `attach` whoever
wants the first byte, `start`, then an `Exit` from `exits()`; `delete` clears the runtime's own state. conmon writes
the exit code to `<exec-root>/exits/<id>` when nobody listens, so an exit is never lost: `exits()` begins with those
files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal as signals
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sampan.errors import Conflict, SampanError
from sampan.linux import pidfd
from sampan.runtime import (
    attachment,
    cgroups,
    conmon,
    exits,
    failures,
    few_files,
    foreground,
    roots,
    seccomp_bpf,
    terminal,
)
from sampan.runtime.attachment import Attachment
from sampan.runtime.binaries import OCIRuntime, Runtimes, find
from sampan.runtime.bundle import Bundle
from sampan.runtime.execs import Execs
from sampan.runtime.exits import Exit
from sampan.runtime.holding import Held, Holding, cgroup_in, read_pid
from sampan.runtime.invocation import Invocation
from sampan.runtime.start_gate import open_gate, program, replaced


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` gives: the pids of the container's init and of its conmon, and the runtime that holds it."""

    pid: int
    conmon_pid: int
    runtime: str


class Runtime:
    """`runtimes` maps a name (crun, runc, or daemon.json's own) to a command; `default` is tried first, and where crun
    refuses the host (cgroup hybrid with controllers on v2) runc takes its place, with one log line. Failures of the
    OCI runtime raise `failures.StartFailed` with Docker's wording ("OCI runtime create failed: … executable file not
    found in $PATH"); the container's exit code for them (126, 127, 128) is in `StartFailed.exit_code`."""

    def __init__(self, exec_root: Path, runtimes: Mapping[str, Sequence[str]], default: str) -> None:
        self._exec_root = exec_root
        self.runtimes = Runtimes(runtimes, default)
        self._conmon = find("conmon") or "/usr/bin/conmon"
        self._tasks: set[asyncio.Task[None]] = set()
        self._invocation = Invocation(exec_root)
        self._exits = exits.Exits(exec_root / "exits", self._met_oom)
        self._holding = Holding(self._exits, self._keep)
        self._execs = Execs(self._conmon, self._invocation, self._exits, self._keep)

    def configure(self, runtimes: Mapping[str, Sequence[str]], default: str) -> None:
        """Other runtimes from now on: a reload's."""
        self.runtimes = Runtimes(runtimes, default)

    def name(self, requested: str = "") -> str:
        """The runtime that will really be used for `--runtime requested`. Raises `InvalidParameter` for an unknown
        one."""
        return self.runtimes.get(requested).name

    # -- running -----------------------------------------------------------------------------------
    async def create(
        self, bundle: Bundle, spec: Mapping[str, Any], *, tty: bool, stdin: bool, stdin_once: bool, runtime: str
    ) -> Created:
        """Runs the OCI runtime's create under a new conmon. `stdin_once`: stdin ends with the client that attached to
        it (never with a TTY, as in Docker). On failure nothing stays."""
        chosen = self.runtimes.for_spec(runtime, spec)
        roots.secure(spec)
        spec, files = few_files.taken_out(spec)
        await self._clear(bundle, chosen)
        bundle.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        bundle.spec.write_bytes(msgspec.json.encode(await _with_filter(spec, chosen)))
        closes_stdin = stdin and stdin_once and not tty
        command = conmon.Command(
            conmon=self._conmon,
            runtime=chosen.command[0],
            runtime_arguments=self._invocation.arguments(chosen, bundle.runtime_log),
            id=bundle.id,
            directory=bundle.path,
            log=_log_option(bundle.log_path),
            tty=tty,
            stdin=stdin,
            leave_stdin_open=not closes_stdin,
            exit_directory=self._exits_directory(),
        )
        started = conmon.spawn(command, self._invocation.environment)
        try:
            pid = await started.created()
            few_files.put_on(pid, files)
        except conmon.ConmonFailed as failure:
            reason = failures.last_error(bundle.runtime_log) or failure.reason
            await self.delete(bundle, chosen.name)
            raise failures.create_failed(reason, spec["process"]["args"][0]) from None
        except asyncio.CancelledError:
            await self._abandon(bundle, started, chosen.name)
            raise
        finally:
            started.close()
        held = Held(
            bundle=bundle,
            pid=pid,
            started=pidfd.start_time(pid),
            conmon_pid=read_pid(bundle.conmon_pidfile),
            cgroup=_cgroup_of(spec),
            stdin=stdin,
            closes_stdin=closes_stdin,
        )
        self._holding.hold(held)
        return Created(pid, held.conmon_pid, chosen.name)

    async def run(self, bundle: Bundle, spec: Mapping[str, Any], output: foreground.Output, runtime: str = "") -> int:
        """Runs a container to its end in one go, without conmon: it does not outlive the daemon. See `foreground`."""
        chosen = self.runtimes.for_spec(runtime, spec)
        roots.secure(spec)
        return await foreground.run(bundle, await _with_filter(spec, chosen), chosen, self._invocation, output)

    async def attach(self, bundle: Bundle, *, tty: bool, stdin: bool = True, before_start: bool = False) -> Attachment:
        """Connects to a container's streams. `stdin` False only listens; `before_start` makes sure that the first byte
        will not be missed. Raises `Conflict` when its conmon is gone."""
        held = self._holding.get(bundle)
        has_stdin, closes_stdin = (held.stdin, held.closes_stdin) if held else (True, False)
        acceptor = held.conmon_pid if held and before_start else None
        try:
            made = await attachment.connect(
                bundle.attach_socket,
                tty=tty,
                stdin=stdin and has_stdin,
                closes_stdin=closes_stdin,
                acceptor=acceptor,
            )
        except OSError as error:
            raise Conflict(f"cannot attach to container {bundle.id}: it does not run ({error.strerror})") from None
        if held is not None:
            made.follow(held.pid)
        return made

    async def start(self, bundle: Bundle, runtime: str) -> None:
        """Lets the container's process run."""
        chosen = self.runtimes.get(runtime)
        held = self._holding.get(bundle)
        if held is not None:
            held.init = program(held.pid)
        if await open_gate(chosen.kind, self._invocation.state(chosen, bundle.id) / "exec.fifo"):
            return
        failure = await self._invocation.run(chosen, bundle, "start", bundle.id)
        if failure:
            raise failures.start_failed(failure)

    async def exec(
        self,
        bundle: Bundle,
        exec_id: str,
        process: Mapping[str, Any],
        *,
        tty: bool,
        stdin: bool,
        attached: bool,
        runtime: str,
    ) -> tuple[Created, Attachment | None]:
        """Runs an OCI `process` in the container. With `attached`, the attachment is made before the process starts.
        Raises `failures.StartFailed`; nothing stays then. Its stdin ends with its client."""
        chosen = self.runtimes.get(runtime)
        pid, keeper, stream = await self._execs.run(
            bundle, exec_id, process, chosen, tty=tty, stdin=stdin, attached=attached
        )
        return Created(pid, keeper, chosen.name), stream

    # -- acting on a running container -------------------------------------------------------------
    async def kill(self, bundle: Bundle, runtime: str, signal: int, all: bool = False) -> None:
        """Signals init (by pidfd when it can); `all` signals every process of the cgroup. Raises `Conflict` when it
        does not run."""
        held = self._holding.find(bundle)
        if signal != signals.SIGKILL:
            await _started(held)
        if all:
            reached = bool(cgroups.signal_all(held.cgroup, signal))
        else:
            reached = pidfd.send_signal(held.pid, signal, held.started)
        if not reached:
            raise Conflict(f"Container {bundle.id} is not running")

    async def kill_exec(self, bundle: Bundle, exec_id: str, signal: int) -> bool:
        """Signals an exec's process; False when it has ended."""
        return self._execs.kill(bundle, exec_id, signal)

    async def pause(self, bundle: Bundle, runtime: str) -> None:
        await self._freeze(bundle, True)

    async def resume(self, bundle: Bundle, runtime: str) -> None:
        await self._freeze(bundle, False)

    async def _freeze(self, bundle: Bundle, frozen: bool) -> None:
        cgroup = self._holding.find(bundle).cgroup
        try:
            await cgroups.freeze(cgroup, frozen)
        except (OSError, TimeoutError) as error:
            verb = "pause" if frozen else "resume"
            raise SampanError(f"cannot {verb} container {bundle.id}: {error}") from error

    async def update(self, bundle: Bundle, runtime: str, resources: Mapping[str, Any]) -> None:
        """OCI `linux.resources`, all of them: without a CPU quota there is none afterwards."""
        chosen = self.runtimes.get(runtime)
        failure = await self._invocation.run(
            chosen, bundle, "update", "--resources", "-", bundle.id, given=msgspec.json.encode(resources)
        )
        if failure:
            raise SampanError(f"cannot update container {bundle.id}: {failure}")
        if "quota" not in resources.get("cpu", {}):
            cgroups.lift_cpu_quota(self._holding.find(bundle).cgroup)

    async def resize(self, bundle: Bundle, height: int, width: int, exec_id: str | None = None) -> None:
        """Raises `Conflict` when it does not run."""
        await terminal.resize(bundle.path if exec_id is None else bundle.exec(exec_id), height, width)

    async def reopen_log(self, bundle: Bundle) -> None:
        """After `bundle.log_path` was renamed: conmon goes on in a new file of that name."""
        await terminal.reopen_log(bundle.path)

    async def pids(self, bundle: Bundle, runtime: str) -> list[int]:
        """Host pids in the container's cgroup."""
        held = self._holding.find(bundle)
        await _started(held)
        return cgroups.pids(held.cgroup)

    def cgroup(self, bundle: Bundle) -> str:
        """The container's cgroup path: for stats. Raises `Conflict` when it does not run."""
        return self._holding.find(bundle).cgroup

    # -- ending ------------------------------------------------------------------------------------
    async def delete(self, bundle: Bundle, runtime: str) -> None:
        """Forgets a stopped (or half-made) container: processes that still run, runtime state, cgroup, conmon.
        Idempotent. The bundle's directory, where the snapshot may be mounted, stays."""
        held = self._holding.forget(bundle.id)
        cgroup = held.cgroup if held else cgroup_in(bundle.spec)
        if cgroup:
            await cgroups.kill(cgroup)
        await self._end_conmon(bundle)
        await self._remove_state(bundle, runtime)
        if cgroup:
            await cgroups.remove(cgroup)
        self._exits.forget(bundle.id)
        _tidy(bundle)

    async def _remove_state(self, bundle: Bundle, runtime: str) -> None:
        """crun and runc keep nothing elsewhere for specs without hooks: their `delete` would only do this, in 6 ms."""
        try:
            chosen = self.runtimes.get(runtime)
        except SampanError:  # a runtime that is configured no longer
            for state in self._invocation.states(bundle.id):
                shutil.rmtree(state, ignore_errors=True)
            return
        state = self._invocation.state(chosen, bundle.id)
        if chosen.kind:
            shutil.rmtree(state, ignore_errors=True)
        elif state.exists():
            await self._invocation.run(chosen, bundle, "delete", "--force", bundle.id)

    async def _clear(self, bundle: Bundle, chosen: OCIRuntime) -> None:
        """Before a create: whatever an earlier run left."""
        if (
            bundle.id in self._holding
            or bundle.conmon_pidfile.exists()
            or self._invocation.state(chosen, bundle.id).exists()
        ):
            await self.delete(bundle, chosen.name)
        else:
            self._exits.forget(bundle.id)

    async def _abandon(self, bundle: Bundle, started: conmon.Conmon, runtime: str) -> None:
        """`create` was cancelled: lets it come to its end, then takes everything away."""

        async def finish() -> None:
            with contextlib.suppress(conmon.ConmonFailed):
                await started.created()

        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(finish())
        await self.delete(bundle, runtime)

    async def _end_conmon(self, bundle: Bundle) -> None:
        """conmon ends by itself when its container has; what does not is killed."""
        pid = read_pid(bundle.conmon_pidfile)
        if not pid or not conmon.is_conmon_of(pid, bundle.id):
            return
        descriptor = pidfd.open_pidfd(pid)
        if descriptor is None:
            return
        try:
            try:
                await asyncio.wait_for(pidfd.ended(descriptor), 2)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    signals.pidfd_send_signal(descriptor, signals.SIGKILL)
                await asyncio.wait_for(pidfd.ended(descriptor), 5)
        finally:
            os.close(descriptor)

    # -- exits -------------------------------------------------------------------------------------
    def alive(self, bundle: Bundle) -> tuple[int, int] | None:
        """(pid, conmon pid) when both run and are really ours (conmon's command line, init's parent); for
        reconciling. From then on its exit is watched."""
        held = self._holding.get(bundle)
        if held is None or pidfd.start_time(held.pid) != held.started or pidfd.state(held.pid) == "Z":
            return None
        return held.pid, held.conmon_pid

    def exits(self) -> AsyncIterator[Exit]:
        """Every exit since the daemon last looked, then live, by inotify. The consumer calls `acknowledge` when it
        recorded one."""
        return self._exits.stream()

    def exit_of(self, bundle: Bundle) -> Exit | None:
        """The exit that conmon wrote for a container, if it did; for reconciling."""
        return self._exits.read(bundle.id)

    def remember(self, exit: Exit) -> None:
        """Writes a container's exit file again after `delete`: for one whose state could not be saved."""
        self._exits.write(exit)

    def acknowledge(self, exit: Exit) -> None:
        """Removes the exit file (of an exec: its directory)."""
        if exit.exec_id is None:
            (self._exec_root / "exits" / exit.id).unlink(missing_ok=True)
        else:
            shutil.rmtree(self._exec_root / "containers" / exit.id / "exec" / exit.exec_id, ignore_errors=True)

    def recover_execs(self, bundle: Bundle) -> list[str]:
        """At daemon start: watches the execs of a running container that an earlier daemon began. Returns the ids of
        those that still run; the exits of the others come from `exits()`."""
        return self._execs.recover(bundle)

    async def close(self) -> None:
        """Stops watching; containers go on running."""
        await self._exits.close()
        self._holding.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- inside ------------------------------------------------------------------------------------
    def _met_oom(self, id: str) -> bool:
        return (self._exec_root / "containers" / id / "oom").exists()

    def _keep(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _exits_directory(self) -> Path:
        directory = self._exec_root / "exits"
        directory.mkdir(parents=True, exist_ok=True)
        return directory


async def _with_filter(spec: Mapping[str, Any], chosen: OCIRuntime) -> Mapping[str, Any]:
    """For crun, the compiled seccomp filter beside the profile."""
    profile = spec.get("linux", {}).get("seccomp")
    annotations = spec.get("annotations", {})
    if chosen.kind != "crun" or not profile or seccomp_bpf.ANNOTATION in annotations:
        return spec
    compiled = seccomp_bpf.ready(profile)
    if compiled is None:
        compiled = await asyncio.to_thread(seccomp_bpf.annotation, profile)
    return {**spec, "annotations": {**annotations, seccomp_bpf.ANNOTATION: compiled}} if compiled else spec


def _log_option(path: Path | None) -> str:
    """conmon splits the option at colons: such a path could not be told."""
    if path is None:
        return "none"
    if ":" in os.fspath(path):
        raise SampanError(f"the log path {path} holds a colon, which conmon cannot take; choose another data root")
    return f"k8s-file:{path}"


def _cgroup_of(spec: Mapping[str, Any]) -> str:
    return str(spec.get("linux", {}).get("cgroupsPath", ""))


def _tidy(bundle: Bundle) -> None:
    """Removes what `create` and conmon made in the bundle; never anything at or below `rootfs`."""
    shutil.rmtree(bundle.execs, ignore_errors=True)
    for name in (
        *("config.json", "pidfile", "conmon.pid", "attach", "ctl", "winsz"),
        *("oom", "runtime.log", "command.log"),
    ):
        (bundle.path / name).unlink(missing_ok=True)


async def _started(held: Held) -> None:
    """Who signals or looks right after a start means the program, and not the runtime's init, which a signal may end:
    dockerd's `start` returns late enough for that. Ours does not wait, as most who start a container do neither."""
    if held.init is not None:
        await replaced(held.pid, held.init)
        held.init = None
