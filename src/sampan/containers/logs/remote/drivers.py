"""The drivers by name. Their modules are loaded when the first container wants one."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from sampan.containers.logs.remote.destination import Destination
from sampan.containers.logs.remote.identity import Identity
from sampan.errors import InvalidParameter

_CLASSES = {"syslog": "Syslog", "gelf": "Gelf", "fluentd": "Fluentd", "journald": "Journald"}


def _module(driver: str) -> Any:
    return import_module(f"sampan.containers.logs.remote.{driver}")


def check(driver: str, options: dict[str, str]) -> None:
    """Raises `InvalidParameter` as dockerd words it."""
    module = _module(driver)
    if driver == "gelf":  # looks at the address first
        module.check(options)
    for name in options:
        if name not in module.OPTIONS:
            shown = f'"{name}"' if driver == "gelf" else f"'{name}'"
            raise InvalidParameter(f"unknown log opt {shown} for {driver} log driver")
    module.check(options)


def make(driver: str, identity: Identity) -> Destination:
    """Not connected yet. Raises `SampanError` for a tag or certificates that cannot be used."""
    return cast(Destination, getattr(_module(driver), _CLASSES[driver])(identity))
