"""What a build needs of its client before it begins: the Dockerfile, the context, named contexts; then the secrets, ssh
agents and credentials that the Dockerfile asks for.

Source: BuildKit frontend/dockerui/{config,context,namedcontext}.go.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sampan.buildkit import needs
from sampan.buildkit.receiving import NothingShared, receive
from sampan.buildkit.sessions import Session, Sessions
from sampan.buildkit.status import Steps
from sampan.builds import BuildOptions, Builds, describing, ignore, remotes
from sampan.builds.context import Context, lay
from sampan.builds.dockerfile import Dockerfile, parse
from sampan.builds.dockerfile.stages import Graph
from sampan.errors import InvalidParameter, NotFound, NotSupported, SampanError
from sampan.images import Images, references
from sampan.images.pipe import finished
from sampan.images.service import RegistryAuth

_UPLOADS = "buildkit-session"
"""The host of the URL that stands for an archive from the client's standard input."""
UPLOAD = "upload-request"
"""In the place of a context's URL: it comes by a request of its own."""
_CONTEXTS = "contexts"


@dataclass(slots=True)
class Inputs:
    """`context` has to be closed."""

    options: BuildOptions
    context: Context


class Gathering:
    """One build's. `made` says which image an input of another build stands for."""

    def __init__(
        self,
        builds: Builds,
        images: Images,
        sessions: Sessions,
        session: Session,
        steps: Steps,
        attrs: Mapping[str, str],
        made: Mapping[str, str],
        upload: Awaitable[AsyncIterator[bytes]],
    ) -> None:
        self._builds, self._images, self._sessions = builds, images, sessions
        self._session, self._steps, self._attrs, self._made = session, steps, attrs, made
        self._upload = upload
        self._dockerfile: Dockerfile | None = None

    async def gather(self, options: BuildOptions) -> Inputs:
        """Raises `SampanError`; nothing stays then."""
        remote = self._attrs.get(self._attrs.get("contextkey", "context"), "")
        context, options = await self._remote(remote, options) if remote else (self._builds.empty()[0], options)
        try:
            options = await (self._local_inputs if not remote else self._remote_inputs)(options, context)
            options = await self._asked(options)
        except BaseException:
            await context.leave()
            raise
        return Inputs(options, context)

    async def _parsed(self, options: BuildOptions, source: bytes) -> None:
        """A Dockerfile that is none fails before its context travels. Raises `DockerfileError`."""
        self._steps.dockerfile = (options.dockerfile, source)
        if source.strip():  # `build` words what an empty one is told
            self._dockerfile = await asyncio.to_thread(parse, source, options.dockerfile)

    # -- files -------------------------------------------------------------------------------------
    async def _local_inputs(self, options: BuildOptions, context: Context) -> BuildOptions:
        options, patterns = await self._read_dockerfile(options)
        options = await self._named(options, context)
        graph = self._graph(options)
        only = needs.paths(graph, self._may_trigger) if graph is not None else None
        if only is None or only:
            local = self._attrs.get("contextkey", "context")
            await self._receive(local, context, patterns, only or (), "load build context", must=False)
        return options

    async def _remote_inputs(self, options: BuildOptions, context: Context) -> BuildOptions:
        if "dockerfilekey" in self._attrs:
            options, _ = await self._read_dockerfile(options)
        elif (source := options.dockerfile_source or context.read(options.dockerfile)) is not None:
            await self._parsed(options, source)
        return await self._named(options, context)

    async def _remote(self, remote: str, options: BuildOptions) -> tuple[Context, BuildOptions]:
        with self._steps.step(f"[internal] load remote build context {remote}"):
            if remote == UPLOAD:
                archive = await self._upload
            elif urlsplit(remote).hostname == _UPLOADS:
                archive = self._session.uploaded(urlsplit(remote).path)
            else:
                return await self._builds.fetch(remote, options)
            context = await self._builds.receive(archive, options)
            context.filtered = False
            return context, options

    async def _read_dockerfile(self, options: BuildOptions) -> tuple[BuildOptions, tuple[str, ...]]:
        """The Dockerfile's bytes, and the patterns of the .dockerignore beside it, or else of the context's."""
        attrs = self._attrs
        name = options.dockerfile
        folder, base = posixpath.split(name)
        others = [posixpath.join(folder, "dockerfile")] if base == "Dockerfile" else []
        own, _ = ignore.names(name)
        with self._steps.step(f"[internal] load build definition from {base}"):
            found = await self._files(attrs.get("dockerfilekey", "dockerfile"), [name, own, *others])
        source = next((found[one] for one in (name, *others) if one in found), None)
        if source is None:
            raise InvalidParameter(f"failed to read dockerfile: open {name}: no such file or directory")
        await self._parsed(options, source)
        rules = found.get(own)
        if rules is None:
            with self._steps.step("[internal] load .dockerignore"):
                try:
                    rules = (await self._files(attrs.get("contextkey", "context"), [".dockerignore"])).get(
                        ".dockerignore"
                    )
                except NothingShared:
                    rules = None
        patterns = ignore.read(rules) if rules else ()
        return replace(options, dockerfile_source=source), patterns

    async def _files(self, local: str, names: list[str]) -> dict[str, bytes]:
        """Those of the files that are there, links inside the directory followed."""
        context, index = self._builds.empty()
        try:
            await receive(await self._owner(local), local, index, only=names)
            reading = asyncio.to_thread(lambda: {name: context.read(name) for name in names})
            read = await finished(asyncio.ensure_future(reading))
        finally:
            await context.leave()
        return {name: data for name, data in read.items() if data is not None}

    async def _receive(
        self, local: str, context: Context, without: Sequence[str], only: Sequence[str], name: str, *, must: bool
    ) -> None:
        """A directory of the client's into an empty context."""
        assert context.index is not None
        with self._steps.step(f"[internal] {name}") as step:
            total = 0

            def tell(size: int) -> None:
                nonlocal total
                total = size
                step.count("transferring context:", size)

            owner, earlier = await self._owner(local), self._sessions.earlier
            try:
                await receive(owner, local, context.index, without=without, only=only, earlier=earlier, tell=tell)
            except NothingShared:
                if must:
                    raise
            step.count("transferring context:", total, done=True)

    async def _owner(self, local: str) -> Session:
        """Bake shares a directory of several targets through one session."""
        id = self._attrs.get(f"local-sessionid:{local}")
        return await self._sessions.get(id) if id else self._session

    async def _named(self, options: BuildOptions, context: Context) -> BuildOptions:
        found: dict[str, str] = {}
        for key, value in self._attrs.items():
            if not key.startswith("context:"):
                continue
            name = key.removeprefix("context:").partition("::")[0]
            kind, _, rest = value.partition(":")
            if kind == "local":
                found[name] = await self._beside(rest, name, context, len(found))
            elif kind == "input":
                if options.platforms:
                    raise NotSupported(f"{name}: results of other targets for several platforms are not supported")
                found[name] = self._input(rest)
            elif kind == "oci-layout":
                raise NotSupported("named contexts of oci-layout are not supported through buildx: use `sampan build`")
            elif kind == "docker-image" or remotes.context(value) is not None:
                found[name] = value
            else:
                raise InvalidParameter(f"unsupported context source {kind} for {name}")
        return replace(options, contexts=found) if found else options

    async def _beside(self, local: str, name: str, context: Context, number: int) -> str:
        """A client's directory as files beside the main context's."""
        try:
            rules = (await self._files(local, [".dockerignore"])).get(".dockerignore")
        except NothingShared:
            rules = None
        patterns = ignore.read(rules) if rules else ()
        one, index = self._builds.empty()
        try:
            await self._receive(local, one, patterns, (), f"context {name}: load from client", must=True)
            place = context.path / _CONTEXTS / str(number)
            place.parent.mkdir(exist_ok=True)
            await finished(asyncio.ensure_future(asyncio.to_thread(lay, index, index.root, place)))
        finally:
            await one.leave()
        return f"local:{_CONTEXTS}/{number}"

    def _input(self, name: str) -> str:
        image = self._made.get(name)
        if image is None:
            raise NotSupported(f"the input {name} is not a result of this engine's: LLB is not supported")
        return f"docker-image://{image}"

    def _graph(self, options: BuildOptions) -> Graph | None:
        """None when there is none: `build` says why, with the place."""
        if self._dockerfile is None:
            return None
        try:
            return self._builds.graph(self._dockerfile, options, options.platform)
        except SampanError:
            return None

    def _may_trigger(self, name: str) -> bool:
        """Whether an image may have ONBUILD instructions: only of those that are here it is known."""
        try:
            return bool(self._images.resolve(name).config.config.on_build)
        except SampanError:
            return True

    # -- what the Dockerfile asks for ----------------------------------------------------------------
    async def _asked(self, options: BuildOptions) -> BuildOptions:
        graph = self._graph(options)
        if graph is None:
            return options
        try:
            given = {name: value for name, value in options.args.items() if value is not None}
            outline = describing.outline(graph, given)
        except SampanError:
            return options  # `build` says it, with its place
        secrets: dict[str, bytes] = {}
        for one in outline.get("secrets", ()):
            if (value := await self._session.secret(one["name"])) is not None:
                secrets[one["name"]] = value
        agents = {}
        for id in {"default", *(one["name"] for one in outline.get("ssh", ()))}:
            if (ask := await self._session.agent(id)) is not None:
                agents[id] = ask
        auths: dict[str, RegistryAuth] = {}
        async for domain in self._domains(options, graph):
            if domain not in auths and (auth := await self._session.credentials(domain)) is not None:
                auths[domain] = auth
        return replace(options, secrets=secrets, ssh=agents, auths=auths)

    async def _domains(self, options: BuildOptions, graph: Graph) -> AsyncIterator[str]:
        """Registries that may be asked: a helper that a client keeps its credentials in may take its time."""
        wanted: list[str] = []
        for number in graph.needed():
            stage = graph.stages[number]
            if stage.base and stage.base != "scratch":
                wanted.append(stage.base)
            for instruction in stage.stage.instructions:
                wanted += [source.image for source in graph.sources(instruction) if source.image]
        wanted += [
            place.partition("://")[2] for place in options.contexts.values() if place.startswith("docker-image:")
        ]
        asked = [name for name in wanted if options.pull or not self._is_here(name)]
        asked += [name for output in options.outputs for name in output.names]
        asked += [source.ref for source in options.cache_sources if source.ref]
        asked += [cache.ref for cache in options.cache_to if cache.ref]
        for name in asked:
            try:
                yield references.parse(name).domain
            except SampanError:
                continue

    def _is_here(self, name: str) -> bool:
        try:
            self._images.resolve(name)
        except (NotFound, SampanError):
            return False
        return True
