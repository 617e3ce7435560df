"""Where `Settings` come from: flags and daemon.json. Key names are Docker's.

`OPTIONS` is the one table of what can be set: a flag, a key of daemon.json, or both. `from_command_line` and
`combine` make a `Settings` of it; what cannot be meant is refused with `ConfigurationError`, in dockerd's words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from sampan.settings import Settings

DEFAULT_FILE = Path("/etc/sampan/daemon.json")
LEVELS = ("debug", "info", "warn", "error", "fatal")


class ConfigurationError(Exception):
    """The configuration cannot be meant. `hint`: the reader should look at --help."""

    def __init__(self, message: str, hint: bool = False) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Option:
    """One thing to set. `kind` is string, list, bool, int, map, runtimes or pools; without a `key` it is a flag only,
    without an `attribute` it is not part of `Settings`."""

    flag: str
    kind: str
    help: str
    key: str = ""
    attribute: str = ""
    short: str = ""

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.flag}" if self.short else f"--{self.flag}"


OPTIONS: tuple[Option, ...] = (
    Option("add-runtime", "runtimes", "Register an additional OCI runtime, name=path", "runtimes", "runtimes"),
    Option(
        "allow-insecure-tcp",
        "bool",
        "Listen on tcp:// without TLS: whoever reaches it is root here",
        "allow-insecure-tcp",
        "allow_insecure_tcp",
    ),
    Option("bip", "string", "Address of the default bridge, as CIDR", "bip", "bip"),
    Option("bridge", "string", 'Name of the default bridge; "none" for no bridge', "bridge", "bridge", "b"),
    Option("cgroup-parent", "string", "Parent cgroup of all containers", "cgroup-parent", "cgroup_parent"),
    Option("config-file", "string", f"Daemon configuration file (default {DEFAULT_FILE})"),
    Option("data-root", "string", "Directory of persistent state", "data-root", "data_root"),
    Option("debug", "bool", "Enable debug mode", "debug", "debug", "D"),
    Option(
        "default-address-pool",
        "pools",
        "Address pool for networks, base=CIDR,size=PREFIX",
        "default-address-pools",
        "address_pools",
    ),
    Option(
        "default-runtime", "string", "OCI runtime for containers that name none", "default-runtime", "default_runtime"
    ),
    Option("dns", "list", "DNS server for containers", "dns", "dns"),
    Option("dns-opt", "list", "DNS option for containers", "dns-opts", "dns_options"),
    Option("dns-search", "list", "DNS search domain for containers", "dns-search", "dns_search"),
    Option("exec-root", "string", "Directory of state that ends with the machine's run", "exec-root", "exec_root"),
    Option("group", "string", "Group of the unix socket", "group", "group", "G"),
    Option("help", "bool", "Print usage"),
    Option("host", "list", "Where to listen: unix://PATH, tcp://HOST:PORT or fd:// (systemd)", "hosts", "hosts", "H"),
    Option(
        "image-gc",
        "limits",
        "Remove images nobody uses: unused=720h, size=50GB (of all layers), or both with a comma",
        "image-gc",
        "image_gc",
    ),
    Option(
        "insecure-registry",
        "list",
        "Registry, or network of registries, to talk to without TLS",
        "insecure-registries",
        "insecure_registries",
    ),
    Option("label", "list", "Label of this daemon, key=value", "labels", "labels"),
    Option(
        "log-driver",
        "string",
        "Log driver of containers that name none: json-file, local, none",
        "log-driver",
        "log_driver",
    ),
    Option("log-opt", "map", "Log option of containers with that driver, key=value", "log-opts", "log_options"),
    Option("log-level", "string", f"Logging level: {', '.join(LEVELS)}", "log-level", "log_level", "l"),
    Option("nft-table", "string", "Name of the daemon's own nftables table", "nft-table", "nft_table"),
    Option("pidfile", "string", "Where to write the daemon's process id", "pidfile", "pidfile", "p"),
    Option(
        "ports-behind-firewall",
        "bool",
        "Published ports obey the host's firewall (INPUT): relayed by the daemon, which hides the clients' addresses",
        "ports-behind-firewall",
        "ports_behind_firewall",
    ),
    Option("registry", "string", "Serve a registry of the daemon's own images at HOST:PORT", "registry", "registry"),
    Option(
        "registry-htpasswd", "string", "Its users, a file of bcrypt entries", "registry-htpasswd", "registry_htpasswd"
    ),
    Option("registry-mirror", "list", "Mirror of Docker Hub to ask first", "registry-mirrors", "registry_mirrors"),
    Option("registry-tlscert", "string", "Its TLS certificate", "registry-tlscert", "registry_tlscert"),
    Option("registry-tlskey", "string", "Its TLS key", "registry-tlskey", "registry_tlskey"),
    Option(
        "shutdown-timeout",
        "int",
        "Seconds that running requests get at shutdown",
        "shutdown-timeout",
        "shutdown_timeout",
    ),
    Option("tls", "bool", "Use TLS on tcp://; implied by --tlsverify", "tls", "tls"),
    Option("tlscacert", "string", "Trust clients signed by this CA", "tlscacert", "tlscacert"),
    Option("tlscert", "string", "Path to the TLS certificate", "tlscert", "tlscert"),
    Option("tlskey", "string", "Path to the TLS key", "tlskey", "tlskey"),
    Option("tlsverify", "bool", "Use TLS and verify the client", "tlsverify", "tlsverify"),
    Option("validate", "bool", "Check the configuration and exit"),
    Option("version", "bool", "Print the version and exit", short="v"),
)

_LONG = {option.flag: option for option in OPTIONS}
_SHORT = {option.short: option for option in OPTIONS if option.short}
_KEYS = {option.key: option for option in OPTIONS if option.key}

Given = dict[str, Any]
"""What a source sets, by flag name."""


# -- the command line --------------------------------------------------------------------------------
def from_command_line(arguments: Sequence[str]) -> Given:
    """Flags as Go's pflag reads them: `--name value`, `--name=value`, `-n value`, `-nvalue`, `--bool[=false]`."""
    given: Given = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--" and not rest:
            break
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            option = _LONG.get(name)
            if option is None:
                raise ConfigurationError(f"unknown flag: --{name}", hint=True)
            if not equals and option.kind != "bool":
                if not rest:
                    raise ConfigurationError(f"flag needs an argument: --{name}", hint=True)
                value = rest.pop(0)
            _set(given, option, value if equals or option.kind != "bool" else "true")
        elif word.startswith("-") and len(word) > 1:
            _shorthands(given, word, rest)
        else:
            raise ConfigurationError('"sampand" accepts no argument(s).', hint=True)
    return given


def _shorthands(given: Given, word: str, rest: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = _SHORT.get(letter)
        if option is None:
            raise ConfigurationError(f"unknown shorthand flag: '{letter}' in {word}", hint=True)
        if option.kind == "bool" and not letters.startswith("="):
            _set(given, option, "true")
            continue
        if not letters and not rest:
            raise ConfigurationError(f"flag needs an argument: '{letter}' in {word}", hint=True)
        _set(given, option, letters.removeprefix("=") if letters else rest.pop(0))
        return


def _set(given: Given, option: Option, text: str) -> None:
    try:
        value = _read(option, text)
    except ValueError as error:
        raise ConfigurationError(f'invalid argument "{text}" for "{option.shown}" flag: {error}', hint=True) from None
    if option.kind in ("list", "pools"):
        given.setdefault(option.flag, []).append(value)
    elif option.kind in ("map", "runtimes"):
        given.setdefault(option.flag, {}).update(value)
    else:
        given[option.flag] = value


def _read(option: Option, text: str) -> Any:
    match option.kind:
        case "bool":
            if text.lower() not in ("1", "t", "true", "0", "f", "false"):
                raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
            return text.lower() in ("1", "t", "true")
        case "int":
            if not text.removeprefix("-").isdigit():
                raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
            return int(text)
        case "map":
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise ValueError(f"bad format for {option.flag}: {text}: use key=value")
            return {name: value}
        case "runtimes":
            name, equals, path = text.partition("=")
            if not equals or not name or not path:
                raise ValueError(f"invalid argument for --add-runtime: {text}: use name=path")
            return {name: path}
        case "pools":
            fields = dict(part.partition("=")[::2] for part in text.split(","))
            if set(fields) != {"base", "size"} or not fields["size"].isdigit():
                raise ValueError("use base=CIDR,size=PREFIX")
            return (fields["base"], int(fields["size"]))
        case "limits":
            return _limits(text)
    return text


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LIMIT = re.compile(r"(unused|size)=(\d+(?:\.\d+)?)([a-z]+)", re.IGNORECASE)


def _limits(text: str) -> tuple[float, int]:
    """(seconds, bytes) of `unused=720h,size=50GB`."""
    found = {"unused": 0.0, "size": 0.0}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        units = (_UNITS if match[1].lower() == "unused" else _SIZES) if match else {}
        if match is None or match[3].lower() not in units or not float(match[2]):
            raise ValueError(f"{part!r}: use unused=720h (s, m, h, d), size=50GB (MB, GB, TB), or both with a comma")
        found[match[1].lower()] = float(match[2]) * units[match[3].lower()]
    return found["unused"], int(found["size"])


# -- daemon.json -------------------------------------------------------------------------------------
def from_file(path: Path, text: str) -> Given:
    """What daemon.json sets. Unknown keys, wrong types and bad JSON are refused."""
    if not text.strip():
        return {}
    try:
        body = json.loads(text)
    except ValueError as error:
        raise _file_error(path, f"not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise _file_error(
            path, "json: cannot unmarshal " + _kind(body) + " into Go value of type map[string]interface {}"
        )
    unknown = sorted(key for key in body if key not in _KEYS)
    if unknown:
        raise _file_error(path, f"the following directives don't match any configuration option: {', '.join(unknown)}")
    given: Given = {}
    for key, value in body.items():
        if value is not None:
            given[_KEYS[key].flag] = _typed(path, key, _KEYS[key].kind, value)
    return given


def _typed(path: Path, key: str, kind: str, value: Any) -> Any:
    def wrong(what: Any, go: str) -> ConfigurationError:
        return _file_error(path, f"json: cannot unmarshal {_kind(what)} into Go struct field Config.{key} of type {go}")

    match kind:
        case "string":
            if not isinstance(value, str):
                raise wrong(value, "string")
        case "bool":
            if not isinstance(value, bool):
                raise wrong(value, "bool")
        case "int":
            if isinstance(value, bool) or not isinstance(value, int):
                raise wrong(value, "int")
        case "list":
            if not isinstance(value, list):
                raise wrong(value, "[]string")
            for one in value:
                if not isinstance(one, str):
                    raise wrong(one, "string")
        case "map":
            if not isinstance(value, dict):
                raise wrong(value, "map[string]string")
            for one in value.values():
                if not isinstance(one, str):
                    raise wrong(one, "string")
        case "runtimes":
            if not isinstance(value, dict):
                raise wrong(value, "map[string]system.Runtime")
            return {name: _runtime(path, name, runtime) for name, runtime in value.items()}
        case "pools":
            if not isinstance(value, list):
                raise wrong(value, "[]*ipamutils.NetworkToSplit")
            return [_pool(path, pool) for pool in value]
        case "limits":
            if not isinstance(value, str):
                raise wrong(value, "string")
            try:
                return _limits(value)
            except ValueError as error:
                raise _file_error(path, f"{key}: {error}") from None
    return value


def _runtime(path: Path, name: str, value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("path"), str) or not value["path"]:
        raise _file_error(path, f"runtimes: {name}: a runtime needs a path")
    if extra := sorted(set(value) - {"path"}):
        raise _file_error(path, f"runtimes: {name}: {', '.join(extra)}: only path is supported")
    return str(value["path"])


def _pool(path: Path, value: Any) -> tuple[str, int]:
    if not isinstance(value, dict) or not isinstance(value.get("base"), str) or type(value.get("size")) is not int:
        raise _file_error(path, "default-address-pools: each needs a base (CIDR) and a size (prefix length)")
    return value["base"], value["size"]


def _kind(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _file_error(path: Path, message: str) -> ConfigurationError:
    return ConfigurationError(f"unable to configure the Sampan daemon with file {path}: {message}")


# -- together ----------------------------------------------------------------------------------------
def combine(flags: Given, file: Given, path: Path) -> Settings:
    """Settings from both. A thing set in both is refused: neither may win silently."""
    both = sorted(set(flags) & set(file), key=lambda flag: _LONG[flag].key)
    if both:
        shown = ", ".join(
            f"{_LONG[flag].key}: (from flag: {_go(flags[flag])}, from file: {_go(file[flag])})" for flag in both
        )
        raise _file_error(
            path, f"the following directives are specified both as a flag and in the configuration file: {shown}"
        )
    values: dict[str, Any] = {}
    for flag, value in {**file, **flags}.items():
        option = _LONG[flag]
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
    settings = Settings(**values)
    check(settings)
    return settings


def _without_scheme(registry: str) -> str:
    """As dockerd takes it: clients parse what `info` says about insecure registries, and stumble over an URL."""
    scheme, separator, rest = registry.partition("://")
    return rest if separator and scheme.lower() in ("http", "https") else registry


def _go(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{' '.join(_go(one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{_go(one)}' for key, one in value.items())}]"
    return str(value)


def check(settings: Settings) -> None:
    """Values that no flag could check alone."""
    if settings.log_level not in LEVELS:
        raise ConfigurationError(f"invalid logging level: {settings.log_level}")
    if settings.default_runtime not in ("crun", "runc", *settings.runtimes):
        raise ConfigurationError(f"specified default runtime '{settings.default_runtime}' does not exist")
    if settings.shutdown_timeout < 0:
        raise ConfigurationError(f"invalid shutdown timeout: {settings.shutdown_timeout}: must not be negative")
    for label in settings.labels:
        if "=" not in label.strip("="):
            raise ConfigurationError(f"bad attribute format: {label}")
    for server in settings.dns:
        try:
            ip_address(server)
        except ValueError:
            raise ConfigurationError(f"{server} is not an ip address") from None
    if settings.bip:
        try:
            ip_interface(settings.bip if "/" in settings.bip else "")
        except ValueError:
            raise ConfigurationError(f"invalid CIDR address: {settings.bip}") from None
    for base, size in settings.address_pools:
        try:
            network = ip_network(base)
        except ValueError:
            raise ConfigurationError(f"invalid base pool {base!r}: not a network") from None
        if not network.prefixlen <= size <= network.max_prefixlen:
            raise ConfigurationError(f"the requested size {size} does not fit into the base pool {base}")
    for mirror in settings.registry_mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise ConfigurationError(f'invalid mirror: unsupported scheme in "{mirror}": use http:// or https://')
    for registry in settings.insecure_registries:
        _check_insecure(registry)
    _check_registry(settings)
    _check_hosts(settings)


def _check_insecure(registry: str) -> None:
    """HOST, HOST:PORT or a network as CIDR."""
    host, _, port = registry.partition(":") if registry.count(":") == 1 else (registry, "", "")
    if "/" in registry:
        try:
            ip_network(registry, strict=False)
            return
        except ValueError:
            pass
    elif host and (not port or (port.isdigit() and int(port) <= 65535)) and not registry.startswith("-"):
        return
    raise ConfigurationError(f'insecure registry {registry} is not valid: invalid host "{registry}"')


def _check_registry(settings: Settings) -> None:
    others = (settings.registry_htpasswd, settings.registry_tlscert, settings.registry_tlskey)
    if not settings.registry:
        if any(others):
            raise ConfigurationError("--registry-htpasswd, --registry-tlscert and --registry-tlskey need --registry")
        return
    host, colon, port = settings.registry.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or "/" in host:
        raise ConfigurationError(f"invalid registry address {settings.registry!r}: use HOST:PORT")
    if bool(settings.registry_tlscert) != bool(settings.registry_tlskey):
        raise ConfigurationError("--registry-tlscert and --registry-tlskey belong together")


def _check_hosts(settings: Settings) -> None:
    for host in settings.hosts:
        scheme, separator, rest = host.partition("://")
        if not separator or scheme not in ("unix", "tcp", "fd"):
            raise ConfigurationError(f"invalid bind address ({host}): use unix://PATH, tcp://HOST:PORT or fd://")
        if scheme == "unix" and not rest:
            raise ConfigurationError(f"invalid bind address ({host}): the socket's path is missing")
        port = rest.rpartition(":")[2]
        if scheme == "tcp" and port.isdigit() and int(port) > 65535:
            raise ConfigurationError(f"invalid bind address ({host}): invalid port {port}")
        if scheme == "tcp" and not settings.encrypted and not settings.allow_insecure_tcp:
            raise ConfigurationError(
                f"refusing to listen on {host} without TLS: whoever reaches that port is root on this machine. "
                "Give --tlsverify with --tlscacert, --tlscert and --tlskey, or say --allow-insecure-tcp if you mean it"
            )
    if settings.encrypted:
        missing = [
            f"--{name}" for name, value in (("tlscert", settings.tlscert), ("tlskey", settings.tlskey)) if not value
        ]
        if settings.tlsverify and not settings.tlscacert:
            missing.append("--tlscacert")
        if missing:
            raise ConfigurationError(f"TLS needs {', '.join(missing)}")


def usage() -> str:
    """What --help prints."""
    lines = [
        "",
        "Usage:  sampand [OPTIONS]",
        "",
        "A container engine that speaks the Docker Engine API.",
        "",
        "Options:",
    ]
    values = {
        "string": " string",
        "list": " list",
        "int": " int",
        "runtimes": " runtime",
        "pools": " pool-options",
        "limits": " limits",
    }
    for option in OPTIONS:
        name = (f"  -{option.short}, " if option.short else "      ") + f"--{option.flag}{values.get(option.kind, '')}"
        default = _default(option)
        lines.append(f"{name:<38} {option.help}{default}")
    return "\n".join(lines) + "\n"


def _default(option: Option) -> str:
    value = getattr(Settings(), option.attribute) if option.attribute else None
    if not value or isinstance(value, bool):
        return ""
    if option.kind == "list":
        return f" (default {', '.join(value)})"
    if option.kind == "pools":
        return f" (default {', '.join(f'base={base},size={size}' for base, size in value)})"
    return f" (default {value})"
