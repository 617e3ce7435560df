"""ADD's remote sources: files by URL, git repositories. The same for a build whose context is one of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import posixpath
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sampan.builds import gitrefs, ssh
from sampan.builds.gitrefs import Git as Git
from sampan.builds.sources import Source
from sampan.errors import InvalidParameter, SampanError
from sampan.golang import quote
from sampan.images.remote.failures import on_connection
from sampan.linux import openat2

if TYPE_CHECKING:
    from sampan.builds.dockerfile import ast
    from sampan.builds.ssh import Ask
    from sampan.builds.work import Work

_CHUNK = 1 << 18
_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}


@dataclass(frozen=True, slots=True)
class Url:
    url: str


def parse(text: str) -> Git | Url | None:
    """None for a path."""
    git = gitrefs.parse(text)
    return git if git is not None else Url(text) if text.partition("://")[0] in ("http", "https") else None


def context(text: str) -> Git | Url | None:
    """As `parse`, and what `docker build` takes for a repository besides."""
    if text.startswith("github.com/"):
        return parse("https://" + text.partition("#")[0].removesuffix(".git") + ".git" + _fragment(text))
    return parse(text)


def _fragment(text: str) -> str:
    return "#" + text.partition("#")[2] if "#" in text else ""


def check_digest(text: str) -> None:
    """Raises `InvalidParameter` in the words of go-digest."""
    algorithm, colon, value = text.partition(":")
    if not colon or not re.fullmatch(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*", algorithm) or not value:
        raise InvalidParameter("invalid checksum digest format")
    if algorithm not in _DIGITS:
        raise InvalidParameter("unsupported digest algorithm")
    if len(value) != _DIGITS[algorithm]:
        raise InvalidParameter("invalid checksum digest length")
    if not re.fullmatch(r"[a-f0-9]+", value):
        raise InvalidParameter("invalid checksum digest format")


async def fetch(work: Work, remote: Git | Url, add: ast.Add, destination: str) -> Source:
    """Into a directory that goes with the build."""
    place = work.services.contexts.new("remote")
    work.stack.callback(place.close)
    if isinstance(remote, Git):
        remote = _as_added(remote, add)
        await clone(remote, place.root, keep_git_dir=bool(add.keep_git_dir), ask=work.options.ssh.get("default"))
        return Source(place.root, ".", directory=True)
    try:
        name = await download(remote.url, place.root, add.checksum, posixpath.basename(destination))
    except SampanError as error:
        error.message = f"ADD failed: {error.message}"
        raise
    return Source(place.root, name)


def _as_added(git: Git, add: ast.Add) -> Git:
    if add.keep_git_dir is not None and git.keep_git_dir not in (None, add.keep_git_dir):
        raise InvalidParameter("inconsistent keep-git-dir configuration")
    if add.checksum and git.checksum and add.checksum != git.checksum:
        raise InvalidParameter(f"checksum mismatch {quote(add.checksum)} != {quote(git.checksum)}")
    return replace(git, checksum=add.checksum or git.checksum)


async def download(url: str, directory: Path, checksum: str = "", fallback: str = "") -> str:
    """The file's name in `directory`. Mode 0600 and the server's time, as ADD gives them. Raises `SampanError`."""
    import ssl

    import aiohttp

    algorithm, _, expected = checksum.partition(":")
    if checksum and (algorithm not in ("sha256", "sha384", "sha512") or not expected):
        raise InvalidParameter(f"unsupported checksum algorithm {algorithm}")
    digest = hashlib.new(algorithm or "sha256")
    try:
        async with (
            aiohttp.ClientSession(trust_env=True, auto_decompress=False) as session,
            session.get(
                url,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60),
                ssl=ssl.create_default_context(),  # the daemon imports aiohttp without certificates
            ) as response,
        ):
            if response.status >= 400:
                raise SampanError(f"failed to GET {url} with status {response.status} {response.reason}")
            name = _name(response, url) or fallback
            if not name:
                raise SampanError(f"cannot determine filename from url: {url}")
            place = directory / name
            with place.open("wb") as file:
                place.chmod(0o600)
                async for chunk in response.content.iter_chunked(_CHUNK):
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
            _set_time(place, response.headers.get("Last-Modified", ""))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise on_connection(error, url) from None
    if expected and digest.hexdigest() != expected:
        raise SampanError(f"digest mismatch {algorithm}:{digest.hexdigest()}: {algorithm}:{expected}")
    return name


def _name(response: object, url: str) -> str:
    """The URL's last part, or what the server says it is."""
    disposition = getattr(response, "content_disposition", None)
    given = disposition.filename if disposition is not None and disposition.filename else ""
    name = posixpath.basename(unquote(urlsplit(url).path)) or posixpath.basename(given)
    return "" if name in (".", "..") or "\0" in name else name


def _set_time(place: Path, modified: str) -> None:
    seconds = 0.0
    with contextlib.suppress(TypeError, ValueError):
        seconds = parsedate_to_datetime(modified).timestamp()
    os.utime(place, (seconds, seconds))


async def clone(remote: Git, directory: Path, *, keep_git_dir: bool, ask: Ask | None = None) -> None:
    """A checkout without history, submodules included; over ssh with the agent behind `ask`. Raises `SampanError` with
    git's own words."""
    if shutil.which("git") is None:
        raise SampanError("git is not installed on this machine: a repository cannot be fetched")
    if remote.url.startswith("-"):
        raise InvalidParameter(f"invalid git URL {remote.url}")
    repository = directory.parent / "repository"
    repository.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        agent = ""
        if ask is not None:
            agent = str(await stack.enter_async_context(ssh.served(ask, directory.parent, "agent", 0o600, 0, 0)))
        git = functools.partial(_run, repository, agent)
        await git("init", "--quiet")
        await git("remote", "add", "origin", "--", remote.url)
        await _check_out(git, remote.checksum if remote.by_commit and remote.checksum else remote.ref)
        commit, _, seconds = (await git("log", "-1", "--format=%H %ct")).partition(" ")
        if not commit.startswith(remote.checksum.lower()):
            raise SampanError(f"expected checksum to match {remote.checksum}, got {commit}")
        if remote.submodules and (repository / ".gitmodules").is_file():
            await git("submodule", "update", "--init", "--recursive", "--depth=1")
    if not (keep_git_dir if remote.keep_git_dir is None else remote.keep_git_dir):
        shutil.rmtree(repository / ".git")
    if remote.commit_times:
        await asyncio.to_thread(_set_times, repository, int(seconds))
    source = _inside(repository, remote.subdirectory)
    if not source.is_dir():
        raise SampanError(f"subdirectory {remote.subdirectory} not found in repository")
    directory.rmdir()
    source.rename(directory)


def _inside(repository: Path, subdirectory: str) -> Path:
    """The directory itself, never a link to it, which would lead elsewhere from where it is moved. No link and no `..`
    leads out: what is moved here is the repository's own, whatever its author wrote."""
    with openat2.root(repository) as root:
        try:
            return repository / os.fsdecode(openat2.resolve_in_root(root, subdirectory or "."))
        except OSError:
            raise SampanError(f"subdirectory {subdirectory} not found in repository") from None


def _set_times(directory: Path, seconds: int) -> None:
    for place, directories, files in os.walk(directory, topdown=False):
        for name in (*directories, *files):
            os.utime(os.path.join(place, name), (seconds, seconds), follow_symlinks=False)  # noqa: PTH118
    os.utime(directory, (seconds, seconds))


async def _check_out(git: Callable[..., Awaitable[str]], ref: str) -> None:
    """The one commit where the server gives it alone; a dumb server, or one asked for a commit's id, may not."""
    wanted = ref or "HEAD"
    fetch = ("fetch", "--quiet", "--recurse-submodules=no")
    for depth in (("--depth", "1"), ()):
        try:
            await git(*fetch, *depth, "origin", wanted)
        except SampanError:
            if not depth and not ref:
                raise
        else:
            await git("checkout", "--quiet", "--detach", "FETCH_HEAD")
            return
    await git(*fetch, "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
    try:
        await git("checkout", "--quiet", "--detach", wanted, "--")
    except SampanError:
        raise SampanError(f"repository does not contain ref {ref}") from None


def _ssh_command(agent: str) -> str:
    """With the client's agent nothing of this machine's own identities is offered. Host keys are taken as they come:
    BuildKit scans them at the same moment, which is as much."""
    if not agent:
        return "ssh -o BatchMode=yes"
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    return " ".join(["ssh -F /dev/null", *(f"-o {one}" for one in options), "-o IdentityFile=/dev/null"])


async def _run(repository: Path, agent: str, *arguments: str) -> str:
    """What it says on stdout."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(repository.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_SSH_COMMAND": _ssh_command(agent),
        **({"SSH_AUTH_SOCK": agent} if agent else {}),
    }
    process = await asyncio.create_subprocess_exec(
        "git",
        *("-c", "protocol.file.allow=never", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*"),
        *arguments,
        cwd=repository,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        answer, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise SampanError(f"failed to fetch remote: git {arguments[0]}: {said.decode(errors='replace').strip()}")
    return answer.decode(errors="replace").strip()


async def chunks(place: Path) -> AsyncIterator[bytes]:
    """A downloaded file, for `Contexts.receive`."""
    with place.open("rb") as file:
        while data := await asyncio.to_thread(file.read, _CHUNK):
            yield data


def is_text(head: bytes) -> bool:
    """Is a context URL's answer a Dockerfile rather than an archive?"""
    return b"\0" not in head
