"""`build`: an image from a Dockerfile and a context."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from ..commands import Command
from ..container.limits import ulimit
from ..errors import CliError
from ..flags import Flag
from ..values import swap_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ..flags import Flags
    from ..references import Reference
    from ..session import Cli
    from .build_output import Output


def _build(cli: Cli, flags: Flags, args: list[str]) -> int:
    from . import build_request
    from .build_context import open_context
    from .build_output import outputs
    from .build_progress import display

    _refuse(flags)
    wanted = outputs(flags)
    if any(output.pushes and not output.names() for output in wanted) and not flags.many("tag"):
        raise CliError("ERROR: tag is needed when pushing to registry")
    query = build_request.query(cli, flags, wanted)
    context = open_context(
        args[0], flags.text("file"), build_request.named(flags.many("build-context")), flags.many("cache-from")
    )
    query |= {"dockerfile": context.dockerfile, "remote": context.remote}
    query |= {
        "contexts": build_request.encoded(context.contexts),
        "cachesources": build_request.encoded(context.caches),
    }
    stream = context.stream if context.stream is not None else iter(())
    if flags.yes("compress"):
        stream = _compressed(stream)
    method, as_json = build_request.call(flags)
    shown = display(flags.text("progress"), flags.yes("quiet") and method == "build", flags.yes("explain"))
    if method == "check":
        from .build_checks import Checks

        shown = Checks(as_json)
    with _agents(cli, flags) as forwarded:
        headers = build_request.headers(cli, flags)
        response = cli.client.request("POST", "/build", query | forwarded, stream=stream, headers=headers)
        result = shown.run(_taking(cli, response.documents(), wanted, context.cache_targets(flags.many("cache-to"))))
    if method == "check":
        return 1 if result.get("warnings") else 0
    if method != "build":
        from .build_outline import show

        show(method, result.get("described") or {}, as_json)
        return 0
    for output in wanted:
        if output.pushes:
            _push(cli, [*flags.many("tag"), *output.names()])
    _tell(flags, wanted, result)
    return 0


@contextmanager
def _agents(cli: Cli, flags: Flags) -> Iterator[dict[str, Any]]:
    """`--ssh`, for as long as the build goes on: its part of the query."""
    texts = flags.many("ssh")
    if not texts:
        yield {}
        return
    from .build_ssh import Agents

    agents = Agents(texts)
    try:
        agents.forward(cli)
        yield {"ssh": agents.ids, "sshsession": agents.token}
    finally:
        agents.close()


def _taking(
    cli: Cli, events: Iterable[dict[str, Any]], wanted: list[Output], caches: list[str]
) -> Iterator[dict[str, Any]]:
    """Passes events on; what the build has for a place on this side is fetched when it says so."""
    from .build_output import extract_cache

    for event in events:
        if event.get("event") != "exporting":
            yield event
        elif event.get("cache", -1) >= 0:
            extract_cache(cli, event["token"], caches[event["cache"]])
        else:
            wanted[event["output"]].take(cli, event["token"])


def _compressed(stream: Iterator[bytes]) -> Iterator[bytes]:
    import zlib

    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    for data in stream:
        if out := compressor.compress(data):
            yield out
    yield compressor.flush()


def _push(cli: Cli, tags: list[str]) -> None:
    from ..references import parse
    from .push import push

    for tag in dict.fromkeys(tags):
        reference = parse(tag)
        push(cli, reference, reference.tag or "latest", "", sys.stderr)


def _refuse(flags: Flags) -> None:
    """What needs parts that are not there."""
    if flags.text("builder") not in ("", "default"):
        raise CliError(f'no builder "{flags.text("builder")}" found')
    if flags.text("isolation") not in ("", "default"):
        raise CliError(f"invalid isolation {flags.text('isolation')!r}: there is only default on Linux")
    if not flags.yes("rm") or flags.yes("force-rm"):
        sys.stderr.write(
            "WARNING: --rm and --force-rm say nothing here: a step leaves no container, whether it fails or not\n"
        )


def _tell(flags: Flags, wanted: list[Output], result: dict[str, Any]) -> None:
    described = result.get("described") or {}
    several = "index" in described.get("mediaType", "") or "manifest.list" in described.get("mediaType", "")
    if flags.text("iidfile"):
        with open(flags.text("iidfile"), "w") as file:
            file.write(described["digest"] if several else result["image"] or "")
    if flags.text("metadata-file"):
        _write_metadata(flags.text("metadata-file"), flags, wanted, result, several)
    if flags.yes("quiet") and result["image"] and not any(output.to_stdout for output in wanted):
        sys.stdout.write((described["digest"] if several else result["image"]) + "\n")


def _tagged(reference: Reference) -> Reference:
    if reference.name_only:
        reference.tag = "latest"
    return reference


def _write_metadata(place: str, flags: Flags, wanted: list[Output], result: dict[str, Any], several: bool) -> None:
    """The keys that buildx writes, sorted."""
    from json import dumps

    from ..references import parse

    described = result.get("described") or {}
    metadata: dict[str, Any] = {}
    if result.get("provenance"):
        metadata["buildx.build.provenance"] = result["provenance"]
    if described:
        if not several:
            metadata["containerimage.config.digest"] = result["image"]
        metadata["containerimage.descriptor"] = described
        metadata["containerimage.digest"] = described["digest"]
    names = [*flags.many("tag"), *(name for output in wanted for name in output.names())]
    if names:
        metadata["image.name"] = ",".join(dict.fromkeys(str(_tagged(parse(name))) for name in names))
    with open(place, "w") as file:
        file.write(dumps(metadata, indent=2))


COMMAND = Command(
    "[OPTIONS] PATH | URL | -",
    _build,
    least=1,
    most=1,
    aliases=("image build", "build", "builder build", "buildx build"),
    flags=(
        Flag("add-host", "list", 'Add a custom host-to-IP mapping (format: "host:ip")'),
        Flag("allow", "strings", 'Allow extra privileged entitlement (e.g., "network.host", "security.insecure")'),
        Flag("annotation", "list", "Add annotation to the image"),
        Flag("attest", "list", 'Attestation parameters (format: "type=sbom,generator=image")'),
        Flag("build-arg", "list", "Set build-time variables"),
        Flag("build-context", "list", "Additional build contexts (e.g., name=path)"),
        Flag("builder", "string", "Override the configured builder instance", hidden=True),
        Flag("cache-from", "list", 'External cache sources (e.g., "user/app:cache", "type=registry,ref=…")'),
        Flag("cache-to", "list", "Cache export destinations"),
        Flag("cgroup-parent", "string", 'Set the parent cgroup for the "RUN" instructions during build'),
        Flag("call", "string", 'Set method for evaluating build ("check", "outline", "targets")', shown="build"),
        Flag("check", "bool", "Only tell what the build checks find"),
        Flag("compress", "bool", "Compress the build context using gzip"),
        Flag("cpu-period", "int", "Limit the CPU CFS (Completely Fair Scheduler) period"),
        Flag("cpu-quota", "int", "Limit the CPU CFS (Completely Fair Scheduler) quota"),
        Flag("cpu-shares", "int", "CPU shares (relative weight)", short="c"),
        Flag("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
        Flag("cpuset-mems", "string", "MEMs in which to allow execution (0-3, 0,1)"),
        Flag("explain", "bool", "Say for every step why it was not cached"),
        Flag("file", "string", 'Name of the Dockerfile (default: "PATH/Dockerfile")', short="f"),
        Flag("force-rm", "bool", "Always remove intermediate containers", hidden=True),
        Flag("iidfile", "string", "Write the image ID to a file"),
        Flag("isolation", "string", "Container isolation technology", hidden=True),
        Flag("label", "list", "Set metadata for an image"),
        Flag("load", "bool", 'Shorthand for "--output=type=docker"'),
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
        Flag("provenance", "list", 'Shorthand for "--attest=type=provenance"'),
        Flag("pull", "bool", "Always attempt to pull all referenced images"),
        Flag("push", "bool", 'Shorthand for "--output=type=registry"'),
        Flag("quiet", "bool", "Suppress the build output and print image ID on success", short="q"),
        Flag("rm", "bool", "Remove intermediate containers after a successful build", default=True, hidden=True),
        Flag("sbom", "list", 'Shorthand for "--attest=type=sbom"'),
        Flag("secret", "list", 'Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")'),
        Flag("security-opt", "list", "Security options", hidden=True),
        Flag("shm-size", "bytes", "Shared memory size for build containers"),
        Flag("squash", "bool", "Squash newly built layers into a single new layer"),
        Flag("ssh", "list", "SSH agent socket or keys to expose to the build"),
        Flag("tag", "list", 'Image identifier (format: "[registry/]repository[:tag]")', short="t"),
        Flag("target", "string", "Set the target build stage to build"),
        Flag("ulimit", "ulimit", "Ulimit options", parse=ulimit),
    ),
)
