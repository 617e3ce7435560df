"""`RUN --mount`: bind, cache, tmpfs, secret and ssh, made into mounts of the OCI runtime.

A *bind* shows a directory of the context, of a stage or of an image, and is never copied; with `rw` what is written to
it is thrown away. A *cache* is a directory that outlives builds, one for each id; `sharing` says what a second build
does that needs it at the same time: use it too, wait, or take another. Neither is part of the step's result.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.builds import sources, ssh
from sampan.builds.context import Context
from sampan.builds.dockerfile import ast
from sampan.errors import InvalidParameter, NotFound, SampanError
from sampan.linux import copying, mounts, openat2, trees

if TYPE_CHECKING:
    from sampan.builds.work import Work


@dataclass(frozen=True, slots=True)
class RunMount:
    """`root` is where the source is looked for: None for tmpfs, secret and caches without `from`. `key` is its part of
    the step's cache key."""

    mount: ast.Mount
    target: str
    root: Path | Context | None
    key: list[Any]
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """A mount that can be used: `source` is a host path, "" without; `secret` a secret's bytes."""

    mount: ast.Mount
    target: str
    source: str = ""
    secret: bytes | None = None
    scratch: Path | None = None


@dataclass(slots=True)
class Prepared:
    mounts: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    stubs: list[tuple[str, str]] = field(default_factory=list)
    """(topmost missing directory, mount point)."""


class Caches:
    """Cache mounts of this machine, below `<data root>/builds/caches/<hash of the id>`."""

    def __init__(self, data_root: Path) -> None:
        self.place = data_root / "builds" / "caches"
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[Path, int] = {}

    @contextlib.asynccontextmanager
    async def use(self, id: str, sharing: str, fill: Path | None, mount: ast.Mount) -> AsyncIterator[Path]:
        name = hashlib.sha256(id.encode()).hexdigest()[:32]
        async with AsyncExitStack() as stack:
            if sharing == "locked":
                await stack.enter_async_context(self._locks.setdefault(name, asyncio.Lock()))
            path = self.place / name
            number = 0
            while sharing == "private" and self._users.get(path):
                number += 1
                path = self.place / f"{name}-{number}"
            self._users[path] = self._users.get(path, 0) + 1
            try:
                await asyncio.to_thread(self._make, path, id, fill, mount)
                yield path / "data"
            finally:
                self._users[path] -= 1
                if not self._users[path]:
                    del self._users[path]

    @staticmethod
    def _make(path: Path, id: str, fill: Path | None, mount: ast.Mount) -> None:
        data = path / "data"
        if data.is_dir():
            os.utime(path)
            return
        new = path.with_name(f".new-{os.urandom(6).hex()}")
        try:
            Caches._fill(new, id, fill, mount)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        try:
            new.rename(path)
        except OSError:  # another build was quicker
            shutil.rmtree(new)

    @staticmethod
    def _fill(new: Path, id: str, fill: Path | None, mount: ast.Mount) -> None:
        (new / "data").mkdir(parents=True)
        (new / "id").write_text(id)
        with openat2.root(new / "data") as target:
            writing = openat2.reopen(target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if fill is not None:
                    reading = os.open(fill, os.O_RDONLY | os.O_DIRECTORY)
                    try:
                        copying.copy_tree(reading, writing)
                    finally:
                        os.close(reading)
                else:
                    os.fchmod(writing, 0o755 if mount.mode is None else mount.mode)
                    os.fchown(writing, mount.uid or 0, mount.gid or 0)
            finally:
                os.close(writing)

    def all(self) -> list[tuple[Path, str]]:
        """(directory, id)."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.place.iterdir()):
                if not path.name.startswith(".") and (path / "id").is_file():
                    found.append((path, (path / "id").read_text()))
        return found

    def in_use(self, path: Path) -> bool:
        return path in self._users

    def size(self, path: Path) -> int:
        """Blocks."""
        return trees.size(path / "data")

    def remove(self, path: Path) -> bool:
        """False when a build has it in hand. Blocks."""
        if self.in_use(path):
            return False
        gone = path.with_name(f".new-{os.urandom(6).hex()}")
        path.rename(gone)
        trees.remove(gone)
        return True

    def clean(self) -> None:
        """At start: what was half made."""
        for path in self.place.glob(".new-*"):
            trees.remove(path)


async def resolve(work: Work, mount: ast.Mount, working_dir: str, root: Path | Context | None) -> RunMount:
    """Finds the source, and digests what a bind shows. `root` as in `RunMount`."""
    target = mount.target
    if target and not target.startswith("/"):
        target = os.path.normpath(os.path.join(working_dir or "/", target))  # noqa: PTH118
    key: list[Any] = [mount.type, target, mount.source, mount.id, mount.read_only, mount.env, mount.size]
    if mount.type != "bind":
        return RunMount(mount, target, root, key)
    if root is None:
        raise SampanError("RUN --mount=type=bind: there is no build context")
    digested = await work.digested(
        root, ("bind", mount.source), lambda: _found(root, mount), lambda path, directory: False, owner=True, mode=True
    )
    return RunMount(mount, target, root, [*key, digested.digest], digested.files)


def _found(root: Path | Context, mount: ast.Mount) -> list[sources.Source]:
    """Blocks."""
    pattern = mount.source or "."
    if isinstance(root, Context):
        if root.index is not None:
            found = sources.find_indexed(root.index, root.path, pattern, parents=False)
            if found is not None:
                return found
        root = root.root
    return sources.find(root, [pattern], "RUN --mount", parents=False, context=not mount.from_)


@contextlib.asynccontextmanager
async def held(work: Work, wanted: Sequence[RunMount]) -> AsyncIterator[list[Held]]:
    """Caches are taken in one order, so that two builds cannot wait for each other."""
    found: dict[int, Held] = {}
    async with AsyncExitStack() as stack:
        order = sorted(range(len(wanted)), key=lambda index: (wanted[index].mount.type, _cache_id(wanted[index])))
        for index in order:
            one = wanted[index]
            mount = one.mount
            if mount.type == "cache":
                fill = await work.thread(functools.partial(_inside, one.root, mount.source)) if one.root else None
                place = await stack.enter_async_context(
                    work.services.caches.use(_cache_id(one), mount.sharing or "shared", fill, mount)
                )
                found[index] = Held(mount, one.target, str(place))
            elif mount.type == "bind":
                assert one.root is not None
                scratch = None if mount.read_only else work.services.contexts.new().path
                if scratch is not None:
                    stack.push_async_callback(asyncio.to_thread, shutil.rmtree, scratch, True)
                source = await work.thread(functools.partial(_inside, one.root, mount.source))
                found[index] = Held(mount, one.target, str(source), scratch=scratch)
            elif mount.type == "secret":
                if (secret := _secret(work, mount)) is not None:
                    found[index] = Held(mount, one.target, secret=secret)
            elif mount.type == "ssh":
                id = mount.id or "default"
                if (ask := work.options.ssh.get(id)) is not None:
                    place = work.services.contexts.new().path
                    stack.push_async_callback(asyncio.to_thread, shutil.rmtree, place, True)
                    mode = 0o600 if mount.mode is None else mount.mode
                    served = ssh.served(ask, place, "agent", mode, mount.uid or 0, mount.gid or 0)
                    found[index] = Held(mount, one.target, str(await stack.enter_async_context(served)))
                elif mount.required:
                    raise SampanError(f"unset ssh forward key {id}")
            else:
                found[index] = Held(mount, one.target)
        yield [found[index] for index in sorted(found)]


def _cache_id(one: RunMount) -> str:
    return one.mount.id or one.target


def _secret(work: Work, mount: ast.Mount) -> bytes | None:
    id = mount.id or os.path.basename(mount.source or mount.target)  # noqa: PTH119
    found = work.options.secrets.get(id)
    if found is None and mount.required:
        raise NotFound(f"secret {id}: not found")
    return found


def _inside(root: Path | Context, path: str) -> Path:
    """Blocks, while a context is unpacked."""
    root = root.root if isinstance(root, Context) else root
    with openat2.root(root) as opened:
        try:
            return root / os.fsdecode(openat2.resolve_in_root(opened, path or "."))
        except OSError as error:
            raise SampanError(f'"{path}": {(error.strerror or str(error)).lower()}') from None


def bind(source: str, target: str, *, read_only: bool, directory: bool = True) -> dict[str, Any]:
    options = ["rbind" if directory else "bind", "ro" if read_only else "rw", "rprivate"]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def prepare(held: Sequence[Held], bundle: Path) -> Prepared:
    """Blocks."""
    prepared = Prepared()
    agents = 0
    for number, one in enumerate(held):
        mount = one.mount
        if mount.type == "tmpfs":
            options = ["nosuid", "nodev", "relatime", "rw"] + ([f"size={mount.size}"] if mount.size else [])
            entry = {"destination": one.target, "type": "tmpfs", "source": "tmpfs", "options": options}
            prepared.mounts.append(entry)
        elif mount.type == "secret":
            _prepare_secret(prepared, one, bundle / f"secret-{number}")
        elif mount.type == "ssh":
            target = one.target or f"/run/buildkit/ssh_agent.{agents}"
            agents += 1
            prepared.environment.setdefault("SSH_AUTH_SOCK", target)
            prepared.mounts.append(bind(one.source, target, read_only=False, directory=False))
        elif one.scratch is not None:
            prepared.mounts.append(_thrown_away(one, bundle, number))
        else:
            if not one.target:
                raise InvalidParameter('invalid mount target "/"')
            directory = Path(one.source).is_dir()
            prepared.mounts.append(bind(one.source, one.target, read_only=mount.read_only, directory=directory))
    prepared.mounts.sort(key=lambda entry: str(entry["destination"]).count("/"))
    return prepared


def _prepare_secret(prepared: Prepared, one: Held, place: Path) -> None:
    mount, data = one.mount, one.secret
    assert data is not None
    id = mount.id or os.path.basename(mount.source or mount.target)  # noqa: PTH119
    if mount.env is not None:
        prepared.environment[mount.env] = data.decode(errors="surrogateescape")
        if not one.target:
            return
    with ExitStack() as stack:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, descriptor)
        os.write(descriptor, data)
        os.fchown(descriptor, mount.uid or 0, mount.gid or 0)
        os.fchmod(descriptor, 0o400 if mount.mode is None else mount.mode)
    target = one.target or f"/run/secrets/{id}"
    prepared.mounts.append(bind(str(place), target, read_only=True, directory=False))


def _thrown_away(one: Held, bundle: Path, number: int) -> dict[str, Any]:
    """A bind with `rw`: an overlay whose upper layer goes with the step."""
    assert one.scratch is not None
    upper, work = one.scratch / "upper", one.scratch / "work"
    for directory in (upper, work):
        directory.mkdir()
    target = bundle / "mounts" / str(number)
    mode = os.lstat(one.source).st_mode
    if stat.S_ISREG(mode):
        copy = upper / "file"
        shutil.copy2(one.source, copy)
        return bind(str(copy), one.target, read_only=False, directory=False)
    if not stat.S_ISDIR(mode):  # a node that a stage made: reading it here would be reading the host's disk
        return bind(one.source, one.target, read_only=False, directory=False)
    target.mkdir(parents=True)
    mounts.overlay([one.source], target, upper=upper, work=work, options={"volatile": None})
    return bind(str(target), one.target, read_only=False)
