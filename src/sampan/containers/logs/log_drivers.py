"""Log drivers: which are understood, with which options. Pure.

Whatever the driver, conmon writes what is printed into its own file (`log_format`), which `logs` and attach replay.
For `json-file` and `local` that is all. For those that send elsewhere (`remote`) the file is what dockerd calls the
cache, and what `forwarding` reads; for `none` there is no file.

Docker's json-file has no limit unless one is asked for, and so fills disks. Here it has one; `max-size=-1` takes it
away.
"""

from __future__ import annotations

import re

from sampan.containers.logs.log_attributes import attributes
from sampan.containers.logs.log_values import boolean, memory, size
from sampan.containers.logs.remote import REMOTE, drivers
from sampan.containers.model import LogConfig
from sampan.errors import InvalidParameter, NotSupported

DEFAULT = "json-file"
DEFAULT_SIZE, DEFAULT_FILES = 100_000_000, 5
"""A json-file log without options keeps its last 400 to 500 MB."""
CACHE_SIZE, CACHE_FILES = 20_000_000, 5
"""The same for `local`, and for the cache of the others."""
NAMES = sorted(("json-file", "local", *REMOTE))
"""As `info` lists them."""
_ELSEWHERE = frozenset({"awslogs", "splunk", "gcplogs", "etwlogs"})
_SIZES = frozenset({"max-size", "max-file", "compress"})
_ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_COMMON = frozenset({"mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
"""Any driver's. No driver here makes a container wait for more than the disk, so both modes are `non-blocking`."""


def check(given: LogConfig | None, default: LogConfig | None = None) -> LogConfig:
    """The configuration as it is stored: with the `default` driver filled in, and its options where that is the
    driver. Raises `InvalidParameter`, `NotSupported`."""
    default = default or LogConfig(type=DEFAULT)
    driver = (given.type if given else "") or default.type
    options = dict((given.config if given else None) or {})
    if driver == default.type:
        options = {**(default.config or {}), **options}
    if driver in _ELSEWHERE:
        raise NotSupported(f"logger: no log driver named '{driver}' is registered: not supported by Sampan")
    if driver != "none" and driver not in NAMES:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    if driver == "none":
        return LogConfig(type=driver, config={})
    _check_common(options)
    own = {name: value for name, value in options.items() if name not in _COMMON}
    if driver in REMOTE:
        drivers.check(driver, own)
    else:
        for name in own:
            if name not in _SIZES and not (driver == "json-file" and name in _ATTRIBUTES):
                which = "log driver local" if driver == "local" else "json-file log driver"
                raise InvalidParameter(f"unknown log opt '{name}' for {which}")
    for name in ("labels-regex", "env-regex"):
        try:
            re.compile(options.get(name, ""))
        except re.error as error:
            raise InvalidParameter(f"error parsing regexp: {error}: `{options[name]}`") from None
    checked = LogConfig(type=driver, config=options)
    limit, count = rotation(checked)
    if compresses(checked) and "compress" in options and (count < 2 or not limit):
        raise InvalidParameter("compress cannot be true when max-file is less than 2 or max-size is not set")
    return checked


def _check_common(options: dict[str, str]) -> None:
    if options.get("mode", "") not in ("", "blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {options['mode']}")
    if "max-buffer-size" in options:
        if options.get("mode") != "non-blocking":
            raise InvalidParameter("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            memory(options["max-buffer-size"])
        except InvalidParameter as error:
            raise InvalidParameter(f"error parsing option max-buffer-size: {error.message}") from None
    for name in ("cache-disabled", "cache-compress"):
        try:
            boolean(options.get(name, "false"))
        except InvalidParameter:
            raise InvalidParameter(f"invalid value for option {name}: {options[name]}") from None


def is_remote(config: LogConfig | None) -> bool:
    return config is not None and config.type in REMOTE


def has_file(config: LogConfig | None) -> bool:
    """Does conmon write what was printed?"""
    return (config.type if config else "") != "none"


def is_spool(config: LogConfig | None) -> bool:
    """Is the file only for what is not sent yet (`cache-disabled`)?"""
    return is_remote(config) and boolean(_options(config).get("cache-disabled", "false"))


def keeps(config: LogConfig | None) -> bool:
    """Can `docker logs` read what was printed?"""
    return has_file(config) and not is_spool(config)


def shown_path(config: LogConfig | None) -> bool:
    """Does `inspect` say where the file is? dockerd only does for json-file."""
    return (config.type if config else DEFAULT) == DEFAULT


def backlog(config: LogConfig | None) -> int:
    """How many bytes may wait for a log server that does not answer; 0: as many as the cache has. `max-buffer-size`
    of `mode=non-blocking`."""
    options = _options(config)
    return memory(options.get("max-buffer-size", "1m")) if options.get("mode") == "non-blocking" else 0


def rotation(config: LogConfig | None) -> tuple[int, int]:
    """(bytes a file, files); 0 bytes: no limit. `local` rotates at 20 MB and keeps 5, as Docker's does; so does the
    cache of a driver that sends elsewhere."""
    options = _options(config)
    prefix = "cache-" if is_remote(config) else ""
    small = bool(prefix) or (config is not None and config.type == "local")
    if f"{prefix}max-size" in options:
        limit, files = size(options[f"{prefix}max-size"]), CACHE_FILES if small else 1
    else:
        limit, files = (CACHE_SIZE, CACHE_FILES) if small else (DEFAULT_SIZE, DEFAULT_FILES)
    count = options.get(f"{prefix}max-file", str(files))
    if not count.isdecimal() or not int(count):
        raise InvalidParameter(f"{prefix}max-file cannot be less than 1")
    return limit, int(count)


def compresses(config: LogConfig | None) -> bool:
    """Are files that were set aside compressed? `local`'s and caches are unless it is turned off, as in Docker."""
    options = _options(config)
    if is_remote(config):
        return not is_spool(config) and boolean(options.get("cache-compress", "true"))
    return boolean(options.get("compress", "true" if config is not None and config.type == "local" else "false"))


def details(config: LogConfig | None, labels: dict[str, str], env: list[str], tag: str = "") -> str:
    """What `docker logs --details` puts before each line: the labels and variables that `--log-opt` names, and the
    tag. `local`, and caches as it, have none."""
    if config is not None and config.type not in (DEFAULT, "journald"):
        return ""
    found = attributes(_options(config), labels, env) | ({"tag": tag} if tag else {})
    return ",".join(f"{name}={value}" for name, value in sorted(found.items()))


def _options(config: LogConfig | None) -> dict[str, str]:
    return (config.config if config else None) or {}
