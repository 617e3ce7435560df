"""One process after another over a snapshot, with the engine's limits, network, DNS and isolation, but without a
container's document, name, log or life: what a build's RUN needs.

A *one-shot* has an id like a container's, so that reconciling after a crash finds and removes what it had (bundle,
mounts, cgroup, snapshot, network namespace) as it does for containers that nobody knows. A `Net` is a network sandbox
that any number of one-shots use in turn.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sampan.containers.context import Context
from sampan.containers.life.creating import adapt
from sampan.containers.life.starting import running_other
from sampan.containers.model import Config, Container, HostConfig, NetworkingConfig
from sampan.containers.rules import resources
from sampan.containers.rules.host import host
from sampan.containers.spec import etc_files, networking, oci
from sampan.containers.spec.security_options import Defaults
from sampan.networks import Sandbox
from sampan.runtime import Bundle, foreground

Output = foreground.Output


@dataclass(frozen=True, slots=True)
class Net:
    """A network sandbox. `owner` is the id it is registered under; "" for another container's."""

    owner: str
    mode: str
    sandbox: Sandbox
    files: etc_files.EtcFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShot:
    """What is to run. `snapshot` is an active snapshot's key; `config.entrypoint` the whole command."""

    id: str
    config: Config
    host_config: HostConfig
    mounts: Sequence[dict[str, Any]] = ()
    """OCI mounts beside the engine's own."""


class OneShots:
    def __init__(self, context: Context) -> None:
        self._context = context

    # -- network -----------------------------------------------------------------------------------
    async def network(self, host_config: HostConfig) -> Net:
        """A sandbox for `host_config.network_mode`, with its files of /etc. `close_network` it."""
        context = self._context
        mode = host_config.network_mode = host_config.network_mode or "bridge"
        if mode == "default":
            mode = host_config.network_mode = "bridge"
        if mode.startswith(networking.CONTAINER):
            other = running_other(context, mode, "network", "")
            host_config.network_mode = networking.CONTAINER + other.id
            return Net("", mode, Sandbox(netns=None), etc_files.of(context.directory(other.id)))
        id = secrets.token_hex(32)
        container = self._container(OneShot(id=id, config=Config(), host_config=host_config))
        directory = context.directory(id)
        directory.mkdir(mode=0o710, parents=True)
        try:
            nameservers = host_config.dns or context.settings.dns
            sandbox = await context.networks.up(
                id, mode, networking.requests(container), [], {}, nameservers, quiet=True
            )
            return Net(id, mode, sandbox, etc_files.write(context, container, sandbox))
        except BaseException:
            await context.networks.down(id)
            shutil.rmtree(directory, ignore_errors=True)
            raise

    async def close_network(self, net: Net) -> None:
        if net.owner:
            await self._context.networks.down(net.owner)
            shutil.rmtree(self._context.directory(net.owner), ignore_errors=True)

    # -- running -----------------------------------------------------------------------------------
    def bundle(self, id: str) -> Bundle:
        return Bundle(id, self._context.bundles / id, None)

    async def run(self, shot: OneShot, net: Net, output: Output) -> int:
        """The exit code. The snapshot must be mounted at `bundle(id).rootfs`, and stays so. Raises `StartFailed`."""
        context = self._context
        container = self._container(shot)
        bundle = self.bundle(shot.id)
        document = oci.container_spec(
            container,
            oci.Prepared(
                rootfs=bundle.rootfs,
                cgroup_parent=context.settings.cgroup_parent,
                netns=net.sandbox.netns,
                mounts=shot.mounts,
                files=net.files.below(shot.mounts),
                defaults=Defaults.of(context.settings),
                peer=self._peer,
            ),
        )
        return await context.runtime.run(bundle, document, output, container.host_config.runtime)

    def mounted(self, id: str) -> ExitStack:
        """Mounts the snapshot `id` at its bundle; closing unmounts it and removes the bundle. Blocks."""
        bundle = self.bundle(id)
        with ExitStack() as undo:
            bundle.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            undo.callback(self._remove_bundle, bundle)
            # volatile: what a step leaves is marked as not yet on the disk when it becomes a layer.
            self._context.snapshots.mount(id, bundle.rootfs, volatile=True)
            return undo.pop_all()

    def _remove_bundle(self, bundle: Bundle) -> None:
        self._context.mounting.unstage(bundle.path)
        if bundle.rootfs.exists():
            self._context.snapshots.unmount(bundle.rootfs)
            bundle.rootfs.rmdir()  # fails while anything is still mounted there: nothing below it can be lost
        shutil.rmtree(bundle.path, ignore_errors=True)

    def check(self, host_config: HostConfig) -> list[str]:
        """Warnings; raises what a container's create would for these limits and security options."""
        warnings = resources.check(host_config, host())
        oci.check(host_config)
        host_config.runtime = self._context.runtime.name(host_config.runtime)
        return warnings

    def _container(self, shot: OneShot) -> Container:
        """A document that is never stored. "buildkitsandbox" is what BuildKit's RUN steps see as their host's name."""
        adapt(shot.host_config, host(), self._context)
        mode = shot.host_config.network_mode
        words = [*(shot.config.entrypoint or []), *(shot.config.cmd or [])] or [""]
        if not shot.config.hostname:
            shot.config.hostname = "buildkitsandbox"
        return Container(
            id=shot.id,
            name=shot.id[:12],
            path=words[0],
            args=list(words[1:]),
            config=shot.config,
            host_config=shot.host_config,
            networking=networking.wanted(mode, NetworkingConfig(), shot.config),
        )

    def _peer(self, ref: str) -> oci.Peer:
        return oci.Peer(running_other(self._context, ref, "namespaces", "").state.pid)
