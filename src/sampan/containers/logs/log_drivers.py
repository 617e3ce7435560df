"""Log drivers: which are understood, with which options. Pure.

`json-file` and `local` are both kept in conmon's own file (`log_format`), which `logs` and attach replay; `none` keeps
nothing.

Docker's json-file has no limit unless one is asked for, and so fills disks. Here it has one; `max-size=-1` takes it
away.
"""

from __future__ import annotations

import re

from sampan.containers.model import LogConfig
from sampan.errors import InvalidParameter, NotSupported

DEFAULT = "json-file"
DEFAULT_SIZE, DEFAULT_FILES = 100_000_000, 5
"""A json-file log without options keeps its last 400 to 500 MB."""
_ELSEWHERE = frozenset({"syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "gcplogs", "etwlogs"})
_ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_SIZES = frozenset({"max-size", "max-file", "compress"})
_MODES = frozenset({"mode", "max-buffer-size"})
_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True)
_BOOLEANS |= dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False)
"""Go's strconv.ParseBool."""


def check(given: LogConfig | None, default: LogConfig | None = None) -> LogConfig:
    """The configuration as it is stored: with the `default` driver filled in, and its options where that is the
    driver. Raises `InvalidParameter`, `NotSupported`."""
    default = default or LogConfig(type=DEFAULT)
    driver = (given.type if given else "") or default.type
    options = dict((given.config if given else None) or {})
    if driver == default.type:
        options = {**(default.config or {}), **options}
    if driver in _ELSEWHERE:
        raise NotSupported(f"the log driver {driver} is not supported; use json-file, local or none")
    if driver not in ("json-file", "local", "none"):
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    if driver == "none":
        return LogConfig(type=driver, config={})
    known = _SIZES | _MODES | _ATTRIBUTES
    for name in options:
        if name not in known:
            raise InvalidParameter(f"unknown log opt '{name}' for {driver} log driver")
    if options.get("mode", "blocking") not in ("blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {options['mode']}")
    if options.get("mode") == "non-blocking":
        raise NotSupported("the log option mode=non-blocking is not supported: conmon writes logs as they come")
    if "max-buffer-size" in options:
        raise InvalidParameter("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    if "tag" in options:
        raise NotSupported("the log option tag is not supported")
    for name in ("labels-regex", "env-regex"):
        try:
            re.compile(options.get(name, ""))
        except re.error as error:
            raise InvalidParameter(f"error parsing regexp: {error}: `{options[name]}`") from None
    checked = LogConfig(type=driver, config=options)
    size, count = rotation(checked)
    if compresses(checked) and "compress" in options and (count < 2 or not size):
        raise InvalidParameter("compress cannot be true when max-file is less than 2 or max-size is not set")
    return checked


def keeps(config: LogConfig | None) -> bool:
    """Can `docker logs` read what was printed?"""
    return (config.type if config else "") != "none"


def rotation(config: LogConfig | None) -> tuple[int, int]:
    """(bytes a file, files); 0 bytes: no limit. `local` rotates at 20 MB and keeps 5, as Docker's does."""
    options = (config.config if config else None) or {}
    is_local = config is not None and config.type == "local"
    if "max-size" in options:
        size, files = parse_size(options["max-size"]), 5 if is_local else 1
    else:
        size, files = (20_000_000, 5) if is_local else (DEFAULT_SIZE, DEFAULT_FILES)
    count = options.get("max-file", str(files))
    if not count.isdecimal() or not int(count):
        raise InvalidParameter("max-file cannot be less than 1")
    return size, int(count)


def compresses(config: LogConfig | None) -> bool:
    """Are files that were set aside compressed? `local`'s are unless it is turned off, as in Docker."""
    options = (config.config if config else None) or {}
    given = options.get("compress", "true" if config is not None and config.type == "local" else "false")
    if given not in _BOOLEANS:
        raise InvalidParameter(f'strconv.ParseBool: parsing "{given}": invalid syntax')
    return _BOOLEANS[given]


def parse_size(text: str) -> int:
    """Bytes of `10m`, `1g`, `512k` (powers of 1000, as Docker reads max-size); -1 for no limit gives 0."""
    if text == "-1":
        return 0
    number = text.strip().lower().removesuffix("b")
    factor = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}.get(number[-1:], 1)
    number = number.rstrip("kmgt")
    try:
        size = int(float(number) * factor)
    except ValueError:
        size = -1
    if size <= 0:
        raise InvalidParameter(f"invalid size: '{text}'")
    return size


def details(config: LogConfig | None, labels: dict[str, str], env: list[str]) -> str:
    """What `docker logs --details` puts before each line: the labels and variables that `--log-opt` names."""
    options = (config.config if config else None) or {}
    variables = dict(entry.partition("=")[::2] for entry in env)
    return ",".join(
        f"{name}={value}"
        for name, value in sorted((_chosen(options, "labels", labels) | _chosen(options, "env", variables)).items())
    )


def _chosen(options: dict[str, str], option: str, found: dict[str, str]) -> dict[str, str]:
    names = options.get(option, "").split(",")
    pattern = options.get(f"{option}-regex")
    return {
        name: value
        for name, value in found.items()
        if name in names or (pattern is not None and re.search(pattern, name))
    }
