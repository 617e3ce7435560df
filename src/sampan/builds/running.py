"""The step RUN: a process over the image so far, as a one-shot with the engine's limits, network and DNS."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sampan.builds import mounting, runconfig
from sampan.builds.cache import key_of
from sampan.builds.dockerfile import ast
from sampan.builds.dockerfile.commands import RunPlan, run_plan
from sampan.builds.dockerfile.variables import PROXIES
from sampan.builds.model import State, StepFailed
from sampan.builds.mounting import Prepared, RunMount
from sampan.builds.progress import Removed, Running
from sampan.builds.work import Step, Work, stepped
from sampan.containers.model import Config, HostConfig
from sampan.containers.oneshot import OneShot
from sampan.errors import Forbidden
from sampan.images.building import SealedLayer
from sampan.linux import openat2


async def run(work: Work, step: Step, state: State, run: ast.Run, mounts: Sequence[RunMount]) -> State:
    """`mounts` are the instruction's, with their sources found."""
    plan = run_plan(run, state.config.shell or ())
    told = [pair for pair in state.args if pair[0] not in PROXIES]
    text = runconfig.run_history(plan.arguments, told)
    mode = _network_mode(work, run)
    if run.devices:
        raise Forbidden("RUN --device is not supported: this engine has no CDI devices")
    inputs = ("RUN", list(plan.arguments), plan.script.decode(errors="replace"), told)
    key = key_of(
        *(state.key, *inputs, run.network, run.security),
        *(sorted(work.options.host_config.extra_hosts or []), [mount.key for mount in mounts], work.options.epoch),
    )
    step.inputs.update({f"ARG {name}": value for name, value in told})
    for mount in mounts:
        step.inputs.update(mount.files)

    async def make() -> SealedLayer | None:
        async with work.snapshot(state.chain_id) as snapshot:
            await _execute(work, step, state, run, plan, mounts, mode, snapshot)
            return await work.seal(snapshot, state.chain_id)

    return stepped(state, await work.cached(step, state, key, text, make, state.chain_id))


def _network_mode(work: Work, run: ast.Run) -> str:
    mode = work.options.host_config.network_mode or "default"
    if run.network == "none":
        return "none"
    if run.network == "host":
        if mode != "host" and "network.host" not in work.options.entitlements:
            raise Forbidden("granting entitlement network.host is not allowed by build daemon configuration")
        return "host"
    return mode


async def _execute(
    work: Work,
    step: Step,
    state: State,
    run: ast.Run,
    plan: RunPlan,
    mounts: Sequence[RunMount],
    mode: str,
    snapshot: str,
) -> None:
    shots = work.services.one_shots
    bundle = shots.bundle(snapshot)
    async with work.network(mode) as net, mounting.held(work, mounts) as held:
        stack = await work.thread(lambda: shots.mounted(snapshot))
        try:
            prepared = await work.thread(lambda: _prepare(held, bundle.path, plan))
            work.emit(Running(step=step.number, id=snapshot[:12]))
            shot = OneShot(
                id=snapshot,
                config=Config(
                    user=state.config.user,
                    working_dir=state.config.working_dir or "/",
                    env=_environment(work, state, prepared),
                    entrypoint=list(plan.arguments),
                ),
                host_config=_host_config(work, run, mode),
                mounts=prepared.mounts,
            )
            code = await shots.run(shot, net, functools.partial(work.heard, step.number))
            await work.thread(lambda: _clean(bundle.rootfs, prepared))
        finally:
            await work.thread(stack.close)
    if code:
        words = " ".join(plan.arguments)
        raise StepFailed(f"The command '{words}' returned a non-zero code: {code}", code)
    work.emit(Removed(step=step.number, id=snapshot[:12]))


def _environment(work: Work, state: State, prepared: Prepared) -> list[str]:
    found = {**_proxies(work), **state.environment, **prepared.environment}
    return [f"{name}={value}" for name, value in found.items()]


def _proxies(work: Work) -> dict[str, str]:
    """In both spellings, as BuildKit gives them: programs look for one or the other."""
    given = {name: value for name, value in work.options.args.items() if name in PROXIES and value is not None}
    found = {}
    for name, value in given.items():
        for spelled in (name.upper(), name.lower()):
            found[spelled] = given.get(spelled, value)
    return found


def _host_config(work: Work, run: ast.Run, mode: str) -> HostConfig:
    host = msgspec.structs.replace(work.options.host_config, network_mode=mode)
    if run.security == "insecure":
        if "security.insecure" not in work.options.entitlements:
            raise Forbidden("granting entitlement security.insecure is not allowed by build daemon configuration")
        host.privileged = True
    return host


def _prepare(held: Sequence[mounting.Held], bundle: Path, plan: RunPlan) -> Prepared:
    """Blocks. What is missing as a mount's target is remembered: the runtime makes it, and it is no part of the
    image."""
    prepared = mounting.prepare(held, bundle)
    if plan.script_path:
        place = bundle / "script"
        place.write_bytes(plan.script)
        place.chmod(0o755)
        prepared.mounts.append(mounting.bind(str(place), plan.script_path, read_only=True, directory=False))
    with openat2.root(bundle / "rootfs") as root:
        for mount in prepared.mounts:
            missing = _first_missing(root, str(mount["destination"]))
            if missing:
                prepared.stubs.append((missing, str(mount["destination"])))
    return prepared


def _first_missing(root: int, path: str) -> str:
    """The topmost directory on the way that is not there; "" when all is."""
    walked = ""
    for part in path.strip("/").split("/"):
        walked += f"/{part}"
        try:
            os.close(openat2.open_in_root(root, walked, os.O_PATH))
        except OSError:
            return walked
    return ""


def _clean(rootfs: Path, prepared: Prepared) -> None:
    """Removes mount points that the runtime made, unless the step has put something there."""
    with openat2.root(rootfs) as root:
        for missing, path in prepared.stubs:
            while len(path) >= len(missing):
                try:
                    parent, last = openat2.open_parent(root, path)
                except OSError:
                    break
                try:
                    if not _remove_empty(parent, last):
                        break
                finally:
                    os.close(parent)
                path = path.rpartition("/")[0]


def _remove_empty(parent: int, last: bytes) -> bool:
    try:
        os.rmdir(last, dir_fd=parent)
        return True
    except NotADirectoryError:
        if os.stat(last, dir_fd=parent, follow_symlinks=False).st_size:
            return False
        os.unlink(last, dir_fd=parent)
        return True
    except OSError:
        return False
