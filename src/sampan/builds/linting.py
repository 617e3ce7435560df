"""The build checks of a build: what they must know of the engine, and their findings as events."""

from __future__ import annotations

from sampan.builds.dockerfile import checks
from sampan.builds.dockerfile.excerpt import excerpt
from sampan.builds.dockerfile.rules import Warning
from sampan.builds.dockerfile.stage_checks import BaseFacts
from sampan.builds.dockerfile.stages import Graph
from sampan.builds.ignore import Ignore
from sampan.builds.model import BuildOptions
from sampan.builds.progress import Listener, Warned
from sampan.errors import SampanError
from sampan.images import Images, Platform, platforms


def lint(images: Images, graph: Graph, options: BuildOptions, ignored: Ignore | None, listener: Listener) -> None:
    """Tells what is found. Raises `DockerfileError` when the Dockerfile wants findings to be errors."""
    dockerfile = graph.dockerfile
    given = {name: value for name, value in options.args.items() if value is not None}
    found = checks.check(
        graph,
        given=given,
        target=options.platform or platforms.host(),
        build=platforms.host(),
        facts=lambda index: _facts(images, graph, index, options),
        ignore=ignored,
        all_stages=options.check and not options.target,
    )
    for warning in found:
        listener(_warned(warning, dockerfile.source, dockerfile.name))
    if (error := checks.violation(found, checks.options_of(dockerfile.source, given))) is not None:
        raise error


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
