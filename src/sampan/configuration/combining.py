"""Flags and daemon.json together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sampan.configuration.checks import check
from sampan.configuration.file import file_error
from sampan.configuration.options import BY_FLAG, OPTIONS, ConfigurationError, Given
from sampan.configuration.values import without_credentials
from sampan.settings import Settings


def combine(flags: Given, file: Given, path: Path, *, merged: bool = True) -> Settings:
    """Settings from both. A thing set in both is refused: neither may win silently. `merged`: there is a file, which
    errors name."""
    refuse_both(flags, file, path)
    given = {**file, **flags}
    for flag, value in given.items():
        option = BY_FLAG[flag]
        if option.refuse is not None and (why := option.refuse(value)):
            message = f"{option.key}: {_go(value)} is not supported: {why}"
            if flag in file:
                raise file_error(path, f"{message}; delete this key")
            raise ConfigurationError(f"--{flag}: {_go(value)} is not supported: {why}")
    settings = _settings(given)
    try:
        check(settings)
    except ConfigurationError as error:
        if not merged:
            raise
        raise file_error(
            path, f"merged configuration validation from file and command line flags failed: {error}"
        ) from None
    return settings


def refuse_both(flags: Given, file: Given, path: Path) -> None:
    both = sorted(set(flags) & set(file), key=lambda flag: BY_FLAG[flag].key or flag)
    if both:
        shown = ", ".join(
            f"{BY_FLAG[flag].key or flag}: (from flag: {_shown(flags[flag])}, from file: {_shown(file[flag])})"
            for flag in both
        )
        raise file_error(
            path, f"the following directives are specified both as a flag and in the configuration file: {shown}"
        )


def _settings(given: Given) -> Settings:
    values: dict[str, Any] = {}
    for flag, value in given.items():
        option = BY_FLAG[flag]
        if flag == "host-gateway-ips":  # Docker 28's, for one of each family
            values["host_gateway_ip"] = "".join(value)
        if not option.attribute:
            continue
        if option.kind in ("list", "pools"):
            value = tuple(value)
        elif option.attribute in ("data_root", "exec_root", "pidfile"):
            value = Path(value).absolute()
        values[option.attribute] = value
    values["insecure_registries"] = tuple(map(_without_scheme, values.get("insecure_registries", ())))
    if "exec_root" in values and "pidfile" not in values:
        values["pidfile"] = values["exec_root"] / "sampand.pid"
    return Settings(**values)


KEPT_WITHOUT_KEY = (
    "labels",
    "debug",
    "log_level",
    "insecure_registries",
    "registry_mirrors",
    "nondistributable_registries",
    "shutdown_timeout",
    "default_runtime",
    "runtimes",
    "default_shm_size",
    "default_ipc_mode",
    "default_cgroupns_mode",
)
"""What a reload changes when the file has it, and leaves alone when it has not: dockerd's Daemon.Reload."""
BACK_TO_DEFAULT = ("max_concurrent_downloads", "max_concurrent_uploads", "max_download_attempts", "features")
"""What a reload changes either way."""


def reloaded(flags: Given, file: Given, path: Path, current: Settings) -> dict[str, Any]:
    """The settings, by attribute, that change when the daemon rereads its file. Raises `ConfigurationError`."""
    fresh = combine(flags, file, path)
    present = {BY_FLAG[flag].attribute for flag in file}
    changes = {
        name: getattr(fresh, name)
        for name in (*KEPT_WITHOUT_KEY, *BACK_TO_DEFAULT)
        if name in BACK_TO_DEFAULT or name in present
    }
    check(msgspec.structs.replace(current, **changes))
    return changes


def effective(settings: Settings) -> str:
    """All of it as JSON by daemon.json's keys, for the log."""
    shown: dict[str, Any] = {}
    for option in OPTIONS:
        if not option.key or not option.attribute or option.kind == "gc":
            continue
        value = getattr(settings, option.attribute)
        match option.kind:
            case "runtimes":
                value = {name: {"path": words[0], "runtimeArgs": words[1:]} for name, words in value.items()}
            case "pools":
                value = [{"base": base, "size": size} for base, size in value]
            case "ulimits":
                value = {name: {"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in value.items()}
        if value or isinstance(value, bool | int):
            shown[option.key] = os.fspath(value) if isinstance(value, Path) else value
    return msgspec.json.encode(shown).decode()


def _without_scheme(registry: str) -> str:
    """As dockerd takes it: clients parse what `info` says about insecure registries, and stumble over an URL."""
    scheme, separator, rest = registry.partition("://")
    return rest if separator and scheme.lower() in ("http", "https") else registry


def _shown(value: Any) -> str:
    """Proxies have passwords in them."""
    return without_credentials(_go(value))


def _go(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{' '.join(_go(one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{_go(one)}' for key, one in value.items())}]"
    return str(value)
