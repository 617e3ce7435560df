"""What `build` asks the daemon for: the query, the secrets and the credentials that go along."""

from __future__ import annotations

import os

from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli
    from .build_output import Output


def named(texts: list[str]) -> dict[str, str]:
    """`--build-context`."""
    named = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise CliError(f"invalid context value: {text}, expected key=value")
        named[name] = value
    return named


def query(cli: Cli, flags: Flags, wanted: list[Output]) -> dict[str, Any]:
    """Of `POST /build`, but for what the context says. Raises `CliError`."""
    arguments = dict(_argument(text) for text in flags.many("build-arg"))
    if "SOURCE_DATE_EPOCH" in os.environ:
        arguments.setdefault("SOURCE_DATE_EPOCH", os.environ["SOURCE_DATE_EPOCH"])
    for name, value in (cli.config.proxies(cli.host) if cli.has_config else {}).items():
        arguments.setdefault(name, value)
    tags = flags.many("tag")
    from ..references import parse
    from . import build_attest, build_cache

    for tag in tags + [name for output in wanted for name in output.names()]:
        parse(tag)
    method = call(flags)[0]
    return {
        "t": tags,
        "buildargs": encoded(arguments),
        "labels": encoded(dict(text.partition("=")[::2] for text in flags.many("label"))),
        "target": flags.text("target"),
        "nocache": flags.yes("no-cache") or None,
        "nocachefilter": flags.many("no-cache-filter"),
        "pull": flags.yes("pull") or None,
        "squash": flags.yes("squash") or None,
        "platform": ",".join(flags.many("platform")) or os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
        "networkmode": flags.text("network"),
        "extrahosts": [_host(text) for text in flags.many("add-host")],
        "memory": flags.number("memory") or None,
        "memswap": flags.number("memory-swap") or None,
        "cpushares": flags.number("cpu-shares") or None,
        "cpuperiod": flags.number("cpu-period") or None,
        "cpuquota": flags.number("cpu-quota") or None,
        "cpusetcpus": flags.text("cpuset-cpus"),
        "cpusetmems": flags.text("cpuset-mems"),
        "cgroupparent": flags.text("cgroup-parent"),
        "shmsize": flags.number("shm-size") or None,
        "ulimits": encoded(flags.many("ulimit")),
        "securityopt": encoded(flags.many("security-opt")),
        "outputs": encoded([output.request() for output in wanted]),
        "cacheto": encoded([build_cache.request(one) for one in build_cache.targets(flags.many("cache-to"))]),
        "provenance": build_attest.provenance(flags),
        "cachelocal": 1,
        "allow": flags.many("allow"),
        "events": 1,
        "check": method == "check" or None,
        "describe": method if method in ("outline", "targets") else "",
    }


def encoded(value: Any) -> str:
    """ "" for what is empty."""
    from json import dumps

    return dumps(value, separators=(",", ":")) if value else ""


def _argument(text: str) -> tuple[str, str | None]:
    """`NAME` alone takes the environment's value; without one it is as if it had not been said."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name)


def _host(text: str) -> str:
    name, equals, address = text.partition("=")
    if equals:
        return f"{name}:{address}"
    if ":" not in text:
        raise CliError(f'bad format for add-host: "{text}"')
    return text


def call(flags: Flags) -> tuple[str, bool]:
    """(build, check, outline or targets; as JSON?) of `--call` and `--check`. Raises `CliError`."""
    if flags.yes("check"):
        return "check", False
    method, _, rest = (flags.text("call") or "build").partition(",")
    if method.startswith("format=") or (rest and rest not in ("format=json", "format=text")):
        raise CliError(f"ERROR: invalid call option {flags.text('call')}")
    if method not in ("build", "check", "lint", "outline", "targets"):
        raise CliError(f"ERROR: failed to build: unknown subrequest {method}: there are check, outline and targets")
    return "check" if method == "lint" else method, rest == "format=json"


def headers(cli: Cli, flags: Flags) -> dict[str, str]:
    from binascii import b2a_base64

    found = {"Content-Type": "application/x-tar"}
    if secrets := _secrets(flags.many("secret")):
        found["X-Sampan-Build-Secrets"] = b2a_base64(encoded(secrets).encode(), newline=False).decode()
        if len(found["X-Sampan-Build-Secrets"]) > 60_000:
            raise CliError("the secrets are too large: 32 KiB together is the most that can be sent")
    if auths := _credentials(cli):
        text = b2a_base64(encoded(auths).encode(), newline=False).decode()
        found["X-Registry-Config"] = text.replace("+", "-").replace("/", "_")
    return found


def _credentials(cli: Cli) -> dict[str, dict[str, str]]:
    """Those of every registry that config.json knows: which the Dockerfile needs, the daemon finds out."""
    if not cli.has_config:
        return {}
    servers: dict[str, None] = {}
    for key in ("auths", "credHelpers"):
        if isinstance(known := cli.config.values.get(key), dict):
            servers |= dict.fromkeys(known)
    return {server: found for server in servers if (found := cli.config.credentials(server))}


def _secrets(texts: list[str]) -> dict[str, str]:
    """`id=ID[,src=FILE|,env=NAME]` as base64 by id."""
    from binascii import b2a_base64

    found = {}
    for text in texts:
        fields: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = part.partition("=")
            if not equals or key not in ("id", "src", "source", "env", "type"):
                raise CliError(f"failed to parse secret {text}: unexpected key '{key}' in '{part}'")
            fields["src" if key == "source" else key] = value
        id = fields.get("id", "")
        if not id:
            raise CliError(f"secret {text} has no id")
        if fields.get("type") == "env" or "env" in fields or ("src" not in fields and id in os.environ):
            name = fields.get("env") or fields.get("src") or id
            data = os.fsencode(os.environ.get(name, ""))
        else:
            path = fields.get("src") or id
            try:
                with open(path, "rb") as opened:
                    data = opened.read()
            except OSError as error:
                reason = (error.strerror or "").lower()
                raise CliError(f"failed to stat {path}: stat {path}: {reason}") from None
        found[id] = b2a_base64(data, newline=False).decode()
    return found
