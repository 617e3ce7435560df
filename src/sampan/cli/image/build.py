"""`build`: an image from a Dockerfile and a context."""

from __future__ import annotations

import os
import sys

from ..commands import Command
from ..container.limits import ulimit
from ..errors import CliError
from ..flags import Flag
from ..values import swap_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli
    from .build_output import Output


def _build(cli: Cli, flags: Flags, args: list[str]) -> int:
    from .build_context import open_context
    from .build_output import outputs
    from .build_progress import display

    _refuse(flags)
    wanted = outputs(flags)
    context = open_context(args[0], flags.text("file"), _named(flags.many("build-context")))
    query = _query(cli, flags, wanted)
    query |= {"dockerfile": context.dockerfile, "contexts": _json(context.contexts), "remote": context.remote}
    headers = _headers(cli, flags)
    stream = context.stream if context.stream is not None else iter(())
    response = cli.client.request("POST", "/build", query, stream=stream, headers=headers)
    shown = display(cli, flags.text("progress"), flags.yes("quiet") and not flags.yes("check"), flags.yes("explain"))
    result = shown.run(response.documents())
    if flags.yes("check"):
        return 1 if result.get("warnings") else 0
    for output in wanted:
        output.write(cli, result["image"])
    if flags.yes("push"):
        _push(cli, result["tags"])
    _tell(flags, wanted, result)
    return 0


def _push(cli: Cli, tags: list[str]) -> None:
    from ..references import parse
    from .push import push

    for tag in tags:
        reference = parse(tag)
        push(cli, reference, reference.tag or "latest", "", sys.stderr)


def _refuse(flags: Flags) -> None:
    """What needs parts that are not there."""
    for name in ("annotation", "cache-to", "ssh", "attest", "sbom", "provenance"):
        given = [text for text in flags.many(name) if text not in ("false", "type=inline")]
        if given:
            raise CliError(f"--{name} {given[0]} is not supported")
    if flags.text("builder") not in ("", "default"):
        raise CliError(f'no builder "{flags.text("builder")}" found')
    if flags.yes("push") and not flags.many("tag"):
        raise CliError("tag is needed when pushing to registry")
    if len(flags.many("platform")) > 1:
        raise CliError("images for several platforms in one build are not supported")


def _named(texts: list[str]) -> dict[str, str]:
    named = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise CliError(f"invalid context value: {text}, expected key=value")
        named[name] = value
    return named


def _query(cli: Cli, flags: Flags, wanted: list[Output]) -> dict[str, Any]:
    arguments = dict(_argument(text) for text in flags.many("build-arg"))
    if "SOURCE_DATE_EPOCH" in os.environ:
        arguments.setdefault("SOURCE_DATE_EPOCH", os.environ["SOURCE_DATE_EPOCH"])
    for name, value in (cli.config.proxies(cli.host) if cli.has_config else {}).items():
        arguments.setdefault(name, value)
    tags = flags.many("tag") + [name for output in wanted for name in output.names]
    from ..references import parse

    for tag in tags:
        parse(tag)
    return {
        "t": tags,
        "buildargs": _json(arguments),
        "labels": _json(dict(text.partition("=")[::2] for text in flags.many("label"))),
        "target": flags.text("target"),
        "nocache": flags.yes("no-cache") or None,
        "nocachefilter": flags.many("no-cache-filter"),
        "pull": flags.yes("pull") or None,
        "squash": flags.yes("squash") or None,
        "platform": next(iter(flags.many("platform")), os.environ.get("DOCKER_DEFAULT_PLATFORM", "")),
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
        "ulimits": _json(flags.many("ulimit")),
        "securityopt": _json(flags.many("security-opt")),
        "cachefrom": _json([_cache_source(text) for text in flags.many("cache-from")]),
        "cachelocal": 1,
        "allow": flags.many("allow"),
        "events": 1,
        "check": flags.yes("check") or None,
    }


def _json(value: Any) -> str:
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


def _cache_source(text: str) -> str:
    """`type=registry,ref=NAME`, or the name alone."""
    if "=" not in text:
        return text
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    if fields.get("type", "registry") != "registry" or not fields.get("ref"):
        raise CliError(f"--cache-from {text} is not supported; give an image's name")
    return fields["ref"]


def _headers(cli: Cli, flags: Flags) -> dict[str, str]:
    from binascii import b2a_base64

    headers = {"Content-Type": "application/x-tar"}
    if secrets := _secrets(flags.many("secret")):
        headers["X-Sampan-Build-Secrets"] = b2a_base64(_json(secrets).encode(), newline=False).decode()
        if len(headers["X-Sampan-Build-Secrets"]) > 60_000:
            raise CliError("the secrets are too large: 32 KiB together is the most that can be sent")
    if auths := _credentials(cli):
        encoded = b2a_base64(_json(auths).encode(), newline=False).decode()
        headers["X-Registry-Config"] = encoded.replace("+", "-").replace("/", "_")
    return headers


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


def _tell(flags: Flags, wanted: list[Output], result: dict[str, Any]) -> None:
    if flags.text("iidfile"):
        with open(flags.text("iidfile"), "w") as file:
            file.write(result["image"])
    if flags.text("metadata-file"):
        from json import dumps

        metadata = {"containerimage.config.digest": result["image"], "containerimage.digest": result["manifest"]}
        if result.get("tags"):
            metadata["image.name"] = ",".join(result["tags"])
        with open(flags.text("metadata-file"), "w") as file:
            file.write(dumps(metadata, indent=2))
    if flags.yes("quiet") and not any(output.to_stdout for output in wanted):
        sys.stdout.write(result["image"] + "\n")


COMMAND = Command(
    "[OPTIONS] PATH | URL | -",
    _build,
    least=1,
    most=1,
    aliases=("image build", "build", "builder build", "buildx build"),
    flags=(
        Flag("add-host", "list", 'Add a custom host-to-IP mapping (format: "host:ip")'),
        Flag("allow", "strings", 'Allow extra privileged entitlement (e.g., "network.host", "security.insecure")'),
        Flag("annotation", "list", "Add annotation to the image", hidden=True),
        Flag("attest", "list", 'Attestation parameters (format: "type=sbom,generator=image")', hidden=True),
        Flag("build-arg", "list", "Set build-time variables"),
        Flag("build-context", "list", "Additional build contexts (e.g., name=path)"),
        Flag("builder", "string", "Override the configured builder instance", hidden=True),
        Flag("cache-from", "list", 'External cache sources (e.g., "user/app:cache", "type=registry,ref=…")'),
        Flag("cache-to", "list", "Cache export destinations", hidden=True),
        Flag("cgroup-parent", "string", 'Set the parent cgroup for the "RUN" instructions during build'),
        Flag("check", "bool", "Only tell what the build checks find"),
        Flag("cpu-period", "int", "Limit the CPU CFS (Completely Fair Scheduler) period"),
        Flag("cpu-quota", "int", "Limit the CPU CFS (Completely Fair Scheduler) quota"),
        Flag("cpu-shares", "int", "CPU shares (relative weight)", short="c"),
        Flag("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
        Flag("cpuset-mems", "string", "MEMs in which to allow execution (0-3, 0,1)"),
        Flag("explain", "bool", "Say for every step why it was not cached"),
        Flag("file", "string", 'Name of the Dockerfile (default: "PATH/Dockerfile")', short="f"),
        Flag("force-rm", "bool", "Always remove intermediate containers", hidden=True),
        Flag("iidfile", "string", "Write the image ID to a file"),
        Flag("label", "list", "Set metadata for an image"),
        Flag("load", "bool", 'Shorthand for "--output=type=docker"', hidden=True),
        Flag("memory", "bytes", "Memory limit", short="m"),
        Flag(
            "memory-swap", "bytes", "Swap limit equal to memory plus swap: -1 to enable unlimited swap", parse=swap_size
        ),
        Flag("metadata-file", "string", "Write build result metadata to a file"),
        Flag(
            "network",
            "string",
            'Set the networking mode for the "RUN" instructions during build',
            default="default",
            shown="default",
        ),
        Flag("no-cache", "bool", "Do not use cache when building the image"),
        Flag("no-cache-filter", "strings", "Do not cache specified stages"),
        Flag("output", "list", 'Output destination (format: "type=local,dest=path")', short="o"),
        Flag("platform", "strings", "Set target platform for build"),
        Flag(
            "progress",
            "string",
            'Set type of progress output ("auto", "plain", "quiet", "rawjson", "tty"). '
            "Use plain to show container output",
            default=os.environ.get("BUILDKIT_PROGRESS", "auto"),
            shown="auto",
        ),
        Flag("provenance", "list", 'Shorthand for "--attest=type=provenance"', hidden=True),
        Flag("pull", "bool", "Always attempt to pull all referenced images"),
        Flag("push", "bool", 'Shorthand for "--output=type=registry"'),
        Flag("quiet", "bool", "Suppress the build output and print image ID on success", short="q"),
        Flag("rm", "bool", "Remove intermediate containers after a successful build", default=True, hidden=True),
        Flag("sbom", "list", 'Shorthand for "--attest=type=sbom"', hidden=True),
        Flag("secret", "list", 'Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")'),
        Flag("security-opt", "list", "Security options", hidden=True),
        Flag("shm-size", "bytes", "Shared memory size for build containers"),
        Flag("squash", "bool", "Squash newly built layers into a single new layer"),
        Flag("ssh", "list", "SSH agent socket or keys to expose to the build", hidden=True),
        Flag("tag", "list", 'Image identifier (format: "[registry/]repository[:tag]")', short="t"),
        Flag("target", "string", "Set the target build stage to build"),
        Flag("ulimit", "ulimit", "Ulimit options", parse=ulimit),
    ),
)
