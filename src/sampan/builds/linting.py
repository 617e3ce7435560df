"""The build checks of a build: what they must know of the engine, and their findings as events."""

from __future__ import annotations

from sampan.builds.dockerfile import checks
from sampan.builds.dockerfile.excerpt import excerpt
from sampan.builds.dockerfile.rules import Warning
from sampan.builds.dockerfile.stage_checks import BaseFacts
from sampan.builds.dockerfile.stages import Graph, context_name
from sampan.builds.ignore import Ignore
from sampan.builds.model import BuildOptions
from sampan.builds.progress import Listener, Warned
from sampan.errors import SampanError
from sampan.images import Images, Platform, platforms


def lint(
    images: Images,
    source: bytes,
    name: str,
    graph: Graph | None,
    options: BuildOptions,
    ignored: Ignore | None,
    listener: Listener,
) -> None:
    """Tells what is found; in a Dockerfile that is wrong (`graph` is None) what stands before the mistake. Raises
    `DockerfileError` when the Dockerfile wants findings to be errors, and for --check also for a stage that cannot be
    walked: in a build that may be the fault of a base that is not here yet."""
    given = {key: value for key, value in options.args.items() if value is not None}
    report = checks.examine(
        source,
        name,
        stage=options.target,
        contexts=[context_name(context) for context in options.contexts],
        given=given,
        target=options.platform or platforms.host(),
        build=platforms.host(),
        facts=lambda index: _facts(images, graph, index, options) if graph is not None else None,
        ignore=ignored,
        all_stages=options.check and not options.target,
    )
    for warning in report.warnings:
        listener(_warned(warning, source, name))
    if graph is None or report.error is None:
        return
    if options.check or isinstance(report.error, checks.Violation):
        raise report.error


def _facts(images: Images, graph: Graph, index: int, options: BuildOptions) -> BaseFacts | None:
    """Of a base that is here. What is still to be pulled is not waited for: checks come before the build."""
    resolved = graph.stages[index]
    try:
        image = images.resolve(resolved.base_as_written, resolved.platform or options.platform)
    except SampanError:
        return None
    config = image.config
    return BaseFacts(
        environment=dict(entry.partition("=")[::2] for entry in config.config.env or ()),
        has_shell=bool(config.config.shell),
        on_build=tuple(config.config.on_build or ()),
        platform=Platform(architecture=config.architecture, os=config.os, variant=config.variant),
    )


def _warned(warning: Warning, source: bytes, name: str) -> Warned:
    return Warned(
        rule=warning.rule.name,
        message=warning.message,
        url=warning.rule.url,
        line=warning.lines.start,
        excerpt=excerpt(source, [warning.lines], name),
    )
