"""What really runs: the user's configuration over the image's (Docker's rules). Pure."""

from __future__ import annotations

import msgspec

from sampan.containers.model import Config, HealthcheckConfig
from sampan.errors import InvalidParameter
from sampan.images.model import Healthcheck, RunConfig


def merge(config: Config, image: RunConfig | None) -> Config:
    """A new configuration; neither argument is changed.

    An entrypoint of the user's own drops the image's command too; `[""]` means none at all. Raises
    `InvalidParameter("no command specified")`.
    """
    merged = msgspec.structs.replace(config)
    if image is not None:
        _inherit(merged, image)
    if merged.entrypoint == [""]:
        merged.entrypoint = None
    if not merged.entrypoint and not merged.cmd:
        raise InvalidParameter("no command specified")
    return merged


def _inherit(merged: Config, image: RunConfig) -> None:
    merged.user = merged.user or image.user
    merged.working_dir = merged.working_dir or image.working_dir
    merged.stop_signal = merged.stop_signal or image.stop_signal
    merged.env = merge_env(merged.env, image.env)
    merged.labels = {**(image.labels or {}), **(merged.labels or {})}
    if image.exposed_ports:
        merged.exposed_ports = {**image.exposed_ports, **(merged.exposed_ports or {})}
    if image.volumes:
        merged.volumes = {**image.volumes, **(merged.volumes or {})}
    if not merged.entrypoint:
        if not merged.cmd:
            merged.cmd = list(image.cmd) if image.cmd is not None else None
        if merged.entrypoint is None and image.entrypoint is not None:
            merged.entrypoint = list(image.entrypoint)
    merged.shell = merged.shell or image.shell
    if image.healthcheck is not None:
        merged.healthcheck = merge_healthcheck(merged.healthcheck, image.healthcheck)


def merge_env(own: list[str] | None, inherited: list[str] | None) -> list[str] | None:
    """The user's first, then the image's of other names: the order that `inspect` shows."""
    if not own:
        return list(inherited) if inherited is not None else own
    names = {entry.partition("=")[0] for entry in own}
    return [*own, *(entry for entry in inherited or [] if entry.partition("=")[0] not in names)]


def merge_healthcheck(own: HealthcheckConfig | None, image: Healthcheck) -> HealthcheckConfig:
    """Field by field: what the user left at zero is the image's."""
    own = own or HealthcheckConfig()
    return HealthcheckConfig(
        test=own.test or image.test,
        interval=own.interval or image.interval,
        timeout=own.timeout or image.timeout,
        start_period=own.start_period or image.start_period,
        start_interval=own.start_interval or image.start_interval,
        retries=own.retries or image.retries,
    )


def command(config: Config) -> tuple[str, list[str]]:
    """(path, args) as `inspect` shows them, of a merged configuration."""
    words = [*(config.entrypoint or []), *(config.cmd or [])]
    return words[0], words[1:]
