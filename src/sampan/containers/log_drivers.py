"""Log drivers: which are understood, with which options. Pure.

`json-file` and `local` are both kept in conmon's own file (`log_format`), which `logs` and attach replay; `none` keeps
nothing.
"""

from __future__ import annotations

from sampan.containers.model import LogConfig
from sampan.errors import InvalidParameter, NotSupported

DEFAULT = "json-file"
_ELSEWHERE = frozenset({"syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "gcplogs", "etwlogs"})
_ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_SIZES = frozenset({"max-size", "max-file", "compress"})
_MODES = frozenset({"mode", "max-buffer-size"})


def check(given: LogConfig | None) -> LogConfig:
    """The configuration as it is stored, with the default driver filled in. Raises `InvalidParameter`,
    `NotSupported`."""
    driver = (given.type if given else "") or DEFAULT
    options = dict((given.config if given else None) or {})
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
    if options.get("compress", "false") == "true" and driver == "json-file":
        raise NotSupported("the log option compress=true is not supported")
    if unsupported := sorted(options.keys() & {"labels-regex", "env-regex", "tag"}):
        raise NotSupported(f"the log option {unsupported[0]} is not supported")
    rotation(LogConfig(type=driver, config=options))
    return LogConfig(type=driver, config=options)


def keeps(config: LogConfig | None) -> bool:
    """Can `docker logs` read what was printed?"""
    return (config.type if config else "") != "none"


def rotation(config: LogConfig | None) -> tuple[int, int]:
    """(bytes a file, files); 0 bytes: no limit. `local` rotates at 20 MB and keeps 5, as Docker's does."""
    options = (config.config if config else None) or {}
    is_local = config is not None and config.type == "local"
    size = parse_size(options["max-size"]) if "max-size" in options else 20_000_000 if is_local else 0
    count = options.get("max-file", "5" if is_local else "1")
    if not count.isdecimal() or not int(count):
        raise InvalidParameter("max-file cannot be less than 1")
    return size, int(count)


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
    chosen = {name: labels[name] for name in options.get("labels", "").split(",") if name in labels}
    chosen |= {name: variables[name] for name in options.get("env", "").split(",") if name in variables}
    return ",".join(f"{name}={value}" for name, value in sorted(chosen.items()))
