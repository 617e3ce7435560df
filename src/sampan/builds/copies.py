"""The steps COPY and ADD."""

from __future__ import annotations

import asyncio
import functools
import os
import posixpath
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sampan.builds import modes, remotes, runconfig, sources
from sampan.builds.cache import key_of
from sampan.builds.context import Context
from sampan.builds.copying import Copier, Original
from sampan.builds.dockerfile import ast
from sampan.builds.ignore import Ignore
from sampan.builds.indexing import Index
from sampan.builds.model import State
from sampan.builds.sources import Digested, Skip, Source
from sampan.builds.work import Step, Work, stepped
from sampan.containers.copying.extracting import Rules, extract
from sampan.errors import InvalidParameter, SampanError
from sampan.images import building
from sampan.images.building import SealedLayer
from sampan.images.compression import decompress
from sampan.images.pipe import finished
from sampan.images.tar.headers import BadArchive
from sampan.images.tar.reader import TarReader
from sampan.linux import openat2
from sampan.runtime import users


@dataclass(frozen=True, slots=True)
class Chain:
    """The files of a stage or an image, which need not be here as long as it is known what was copied of them."""

    id: str | None


async def copy(
    work: Work, step: Step, state: State, copy: ast.Copy | ast.Add, root: Path | Context | Chain | None
) -> State:
    """`root` is where the sources are: another stage, the context, or None when there is none."""
    copying = _Copying(work, step, state, copy)
    try:
        return await copying.run(root)
    finally:
        await finished(asyncio.get_running_loop().run_in_executor(None, copying.stack.close))


class _Copying:
    def __init__(self, work: Work, step: Step, state: State, copy: ast.Copy | ast.Add) -> None:
        self._work, self._step, self._state, self._copy = work, step, state, copy
        self._command = copy.keyword.upper()
        self._adds = isinstance(copy, ast.Add)
        self._destination = _destination(state.config.working_dir, copy.destination)
        self._mode = modes.parse(copy.chmod) if copy.chmod else None
        self._index: Index | None = None
        self.stack = ExitStack()

    async def run(self, root: Path | Context | Chain | None) -> State:
        work, state, copy = self._work, self._state, self._copy
        skip = _skip(copy.exclude)
        from_context = isinstance(copy, ast.Add) or not copy.from_
        owner = not copy.chown and not from_context
        parents = isinstance(copy, ast.Copy) and copy.parents
        chain = root.id if isinstance(root, Chain) and not copy.files else None
        what = (list(copy.sources), list(copy.exclude), parents, owner, self._mode is None)
        digest = await work.foreseen(self._step, chain, what) if chain is not None else None
        found: Sequence[Source] = ()
        if digest is None:
            found = await self._find(await self._place(root))
            place = await self._place(root)
            digest = await work.digested(
                place if isinstance(place, Path) and not copy.files else Path(),
                *(("copy", copy.sources, copy.exclude, parents), lambda: found, skip),
                owner=owner,
                mode=self._mode is None,
            )
            if chain is not None:
                work.foresee(self._step, chain, what, digest)

        async def sources() -> Sequence[Source]:
            return found or await self._find(await self._place(root))

        self._step.inputs.update(digest.files)
        inputs = (
            *(self._command, digest.digest, self._destination, copy.chown, copy.chmod, list(copy.exclude)),
            *(work.options.epoch, self._unpacks(found)),
        )
        text = self._text(digest)
        if copy.link:
            return await self._linked(inputs, text, sources, skip)
        key = key_of(state.key, *inputs)

        async def make() -> SealedLayer | None:
            files = await sources()
            async with work.snapshot(state.chain_id) as snapshot:
                await work.thread(lambda: self._mounted(snapshot, files, skip))
                return await work.seal(snapshot, state.chain_id)

        return stepped(state, await work.cached(self._step, state, key, text, make, state.chain_id))

    async def _place(self, root: Path | Context | Chain | None) -> Path | Context | None:
        return await self._work.root(root.id) if isinstance(root, Chain) else root

    async def _linked(
        self, inputs: tuple[object, ...], text: str, sources: Callable[[], Awaitable[Sequence[Source]]], skip: Skip
    ) -> State:
        """--link: a layer of its own, whatever lies below, so that it need not be made again when that changes."""
        work, state = self._work, self._state
        below = state.chain_id if self._needs_names else None
        key = key_of("link", *inputs, below)

        async def make() -> SealedLayer | None:
            found = await sources()
            async with work.snapshot(None) as snapshot:
                upper = work.services.snapshots.upper(snapshot)
                names = await work.root(state.chain_id) if self._needs_names else upper
                await work.thread(lambda: self._onto(upper, names, found, skip))
                return await work.seal(snapshot, None)

        record = await work.cached(self._step, state, key, text, make, None)
        after = stepped(state, record)
        layer = record.sealed
        if layer is not None and state.chain_id is not None:
            holdings, lease, bottom = work.services.holdings, work.lease, state.chain_id
            await work.have(layer.chain_id)
            restacked = await work.thread(lambda: building.restack(holdings, layer, bottom, lease))
            work.stands_on[restacked.chain_id] = bottom
            after = stepped(state, record, layer=restacked)
        return after.keyed(key_of(state.key, record.key))

    @property
    def _needs_names(self) -> bool:
        return any(part and not part.isdigit() for part in self._copy.chown.split(":"))

    def _unpacks(self, found: Sequence[Source]) -> list[bool]:
        """Which sources are unpacked if they are archives: with ADD, local ones, unless --unpack says otherwise."""
        if not isinstance(self._copy, ast.Add):
            return []
        wanted = self._copy.unpack
        return [not _is_remote(source) if wanted is None else wanted for source in found]

    def _text(self, digest: Digested) -> str:
        copy = self._copy
        flags = f"--chown={copy.chown} " if copy.chown else ""
        flags += f"--chmod={copy.chmod} " if copy.chmod else ""
        text = f"{self._command} {flags}{digest.kind}:{digest.digest} in {copy.destination} "
        return runconfig.nop(self._state.config, text)

    # -- finding -----------------------------------------------------------------------------------
    async def _find(self, root: Path | Context | None) -> list[Source]:
        copy, work = self._copy, self._work
        found: list[Source] = []
        parents = isinstance(copy, ast.Copy) and copy.parents
        if isinstance(copy, ast.Add) and copy.checksum:
            if len(copy.sources) != 1:
                raise InvalidParameter("checksum can't be specified for multiple sources")
            remote = remotes.parse(copy.sources[0])
            if remote is None:
                raise InvalidParameter("checksum requires HTTP(S) or Git sources")
            if isinstance(remote, remotes.Url):
                remotes.check_digest(copy.checksum)
        for pattern in copy.sources:
            remote = remotes.parse(pattern)
            if remote is not None and isinstance(copy, ast.Copy):
                what = "git ref" if isinstance(remote, remotes.Git) else "URL"
                raise InvalidParameter(f"source can't be a {what} for COPY")
            if remote is not None and isinstance(copy, ast.Add):
                place = await remotes.fetch(work, remote, copy, self._destination)
                found.append(place)
                continue
            if root is None:
                raise SampanError(f"{self._command} failed: no context given. Impossible to use {self._command}")
            found += await work.thread(functools.partial(self._found, root, pattern, parents))
        for file in copy.files:
            found.append(await work.thread(functools.partial(self._inline, file)))
        return found

    def _found(self, root: Path | Context, pattern: str, parents: bool) -> list[Source]:
        """Blocks."""
        if not isinstance(root, Context):
            return self._kept(sources.find(root, [pattern], self._command, parents=parents, context=False))
        if root.index is not None:
            found = sources.find_indexed(root.index, root.path, pattern, parents=parents)
            # ADD must look into files: they may be archives.
            if found is not None and not (self._adds and any(not one.directory for one in found)):
                self._index = root.index
                return self._kept(found)
        try:
            found = sources.find(root.root, [pattern], self._command, parents=parents, context=True)
        except SampanError:
            sources.check_escape(pattern, self._command, [])
            raise
        sources.check_escape(pattern, self._command, found)
        return self._kept(found)

    def _kept(self, found: list[Source]) -> list[Source]:
        """With --parents, --exclude is about the whole paths that are kept."""
        if not self._copy.exclude:
            return found
        ignore = Ignore(self._copy.exclude)
        return [one for one in found if not one.kept or not ignore.excludes(one.kept)]

    def _inline(self, file: ast.InlineFile) -> Source:
        """A heredoc as a file of its own."""
        context = self._work.services.contexts.new()
        self.stack.callback(context.close)
        place = context.root / file.path.lstrip("/").replace("/", "_")
        place.write_bytes(file.data)
        place.chmod(0o644)
        if self._work.options.epoch is not None:
            os.utime(place, (0, 0))
        return Source(context.root, place.name)

    # -- copying (blocks) --------------------------------------------------------------------------
    def _mounted(self, snapshot: str, found: Sequence[Source], skip: Skip) -> None:
        shots = self._work.services.one_shots
        with shots.mounted(snapshot):
            rootfs = shots.bundle(snapshot).rootfs
            self._onto(rootfs, rootfs, found, skip)

    def _onto(self, target: Path, names: Path, found: Sequence[Source], skip: Skip) -> None:
        """`names` is the root whose /etc/passwd and group say who --chown means."""
        copy = self._copy
        from_context = isinstance(copy, ast.Add) or not copy.from_
        owner: tuple[int, int] | None = None
        if copy.chown:
            with openat2.root(names) as root:
                owner = owner_of(root, copy.chown)
        elif from_context:
            owner = (0, 0)
        with (
            openat2.root(target) as root,
            # A context's times are nothing that a build depends on: with SOURCE_DATE_EPOCH they are all that time.
            Copier(root, owner, self._mode, skip, self._work.options.epoch if from_context else None) as copier,
        ):
            copier.command, copier.new_mode = self._command, modes.of_new_directories(copy.chmod)
            for source in found:
                copier.skip = source.skip(skip)
                self._one(copier, source)

    def _one(self, copier: Copier, source: Source) -> None:
        if not source.kept:
            self._to(copier, source, self._destination)
            return
        head = source.kept if source.directory else posixpath.dirname(source.kept)
        if not head:
            self._to(copier, source, self._destination.rstrip("/") + "/")
            return
        made = copier.parents(head, lambda path: self._original(source, path), self._destination)
        self._to(copier, source, posixpath.join(self._destination, head) + "/")
        copier.restore(made)

    def _original(self, source: Source, path: str) -> Original:
        """A directory on the way to a source of --parents."""
        if source.node is not None:
            assert self._index is not None
            node = self._index.find(posixpath.join(source.base, path))
            assert node is not None
            return node
        with openat2.root(source.root) as root:
            opened = openat2.open_in_root(root, posixpath.join(source.base, path), os.O_PATH)
            try:
                return os.fstat(opened)
            finally:
                os.close(opened)

    def _to(self, copier: Copier, source: Source, destination: str) -> None:
        if source.node is not None:
            assert self._index is not None
            copier.lay(source.node, self._index, posixpath.basename(source.path), destination)
            return
        with openat2.root(source.root) as root:
            parent, name = source.open(root)
            try:
                if self._adds and not source.directory and self._unpack(copier, parent, name, destination, source):
                    return
                copier.copy(parent, name, posixpath.basename(source.path), destination)
            finally:
                os.close(parent)

    def _unpack(self, copier: Copier, parent: int, name: str, destination: str, source: Source) -> bool:
        """ADD unpacks local archives, of whatever compression, into the destination. False: it is none."""
        if not self._unpacks([source])[0] or not is_archive(parent, name):
            return False
        target = copier.directory(destination, 0o755)
        try:
            with openat2.root(f"/proc/self/fd/{target}") as base:
                extract(_chunks(parent, name), base, "/", Rules(owner=copier.owner if self._copy.chown else None))
        finally:
            os.close(target)
        return True


def _is_remote(source: Source) -> bool:
    return source.root.parent.name.startswith("remote-")


def _destination(working_dir: str, destination: str) -> str:
    """Absolute; a trailing slash stays, and `.` means the directory."""
    found = runconfig.working_directory(working_dir, destination)
    last = destination.rpartition("/")[2]
    return found if found.endswith("/") or last not in ("", ".", "..") else found + "/"


def owner_of(root: int, chown: str) -> tuple[int, int]:
    """Whom --chown and USER mean: a lone number is user and group."""
    name, colon, group = chown.partition(":")
    if not colon and name.isdigit():
        return int(name), int(name)
    user = users.resolve(root, f"{name}:{group}" if group else name)
    return user.uid, user.gid


def _skip(patterns: Sequence[str]) -> Skip:
    if not patterns:
        return lambda path, directory: False
    ignore = Ignore(patterns)
    return ignore.skips


def is_archive(parent: int, name: str) -> bool:
    """A tar, plain or compressed: as far as its first header goes."""
    try:
        return next(iter(TarReader(decompress(_chunks(parent, name)))), None) is not None
    except (BadArchive, InvalidParameter, SampanError, EOFError, OSError):
        return False


def _chunks(parent: int, name: str) -> Iterator[bytes]:
    opened = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        while data := os.read(opened, 1 << 20):
            yield data
    finally:
        os.close(opened)
