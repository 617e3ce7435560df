"""A build's context as the tar that is sent: a directory less what .dockerignore leaves out, or what stdin brings."""

from __future__ import annotations

import os
import sys

from ..container.tarwriting import END, file, pack_inside
from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from sampan.builds import ignore

NAMED = ".sampan-contexts"
OUTSIDE = ".sampan-dockerfile"
"""The Dockerfile's name in the tar when it is not one of the context's files."""
_CHUNK = 1 << 18
_HEAD = 512
_COMPRESSED = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


class Context:
    """`dockerfile` is the name the daemon finds it by; `contexts` the named ones, and `caches` those of `--cache-from`,
    as the daemon calls them."""

    def __init__(self, stream: Iterator[bytes] | None, dockerfile: str, remote: str = "") -> None:
        self.stream = stream
        self.dockerfile = dockerfile
        self.remote = remote
        self.contexts: dict[str, str] = {}
        self.caches: list[dict[str, Any]] = []

    @staticmethod
    def cache_targets(texts: list[str]) -> list[str]:
        """Where `--cache-to type=local` goes; "" for others."""
        from .build_cache import targets

        return [values.get("dest", "") for values in targets(texts)]


class _Beside:
    """Directories that go along with the context, each with what of it is left out."""

    def __init__(self) -> None:
        self.places: list[tuple[str, Callable[[str, bool], bool]]] = []

    def add(self, place: str, skip: Callable[[str, bool], bool]) -> str:
        """What the daemon calls it."""
        self.places.append((place, skip))
        return f"contexts/{len(self.places) - 1}"


def open_context(path: str, dockerfile: str, named: dict[str, str], cache_from: list[str]) -> Context:
    """`dockerfile` is the `-f`, "" without. Raises `CliError` in docker's words."""
    beside = _Beside()
    contexts = {name: _named(value, beside) for name, value in named.items()}
    caches = _caches(cache_from, beside)
    if path == "-":
        context = _from_stdin(dockerfile, beside)
    elif _is_remote(path):
        context = Context(None, dockerfile or "Dockerfile", path)
    else:
        context = _directory(path, dockerfile, beside)
    if beside.places and context.stream is None:
        raise CliError("ERROR: directories of --build-context and --cache-from need a context that is sent from here")
    context.contexts, context.caches = contexts, caches
    return context


def _named(value: str, beside: _Beside) -> str:
    """A named context as the daemon takes it."""
    if value.startswith("docker-image://") or _is_remote(value):
        return value
    if value.startswith("oci-layout://"):
        from .build_cache import reachable

        place, version = _layout(value.removeprefix("oci-layout://"))
        return f"oci-layout:{beside.add(place, reachable(place, version))}#{version}"
    if not os.path.isdir(value):
        raise CliError(f"failed to get build context path {value}: stat {value}: no such file or directory")
    rules = _rules(value, "")
    skip = rules.skips if rules is not None else (lambda relative, is_directory: False)
    return f"local:{beside.add(value, skip)}"


def _layout(text: str) -> tuple[str, str]:
    """`PATH[:TAG][@DIGEST]`: the directory, and the digest or tag."""
    place, _, digest = text.partition("@")
    head, slash, last = place.rpartition("/")
    last, _, tag = last.partition(":")
    return head + slash + last, digest or tag or "latest"


def _caches(texts: list[str], beside: _Beside) -> list[dict[str, Any]]:
    """A local one that is not there is no failure: the first build has none."""
    if not texts:
        return []
    from . import build_cache

    found = []
    for values in build_cache.sources(texts):
        source = ""
        if values["type"] == "local":
            place = values["src"]
            if not os.path.isfile(os.path.join(place, "index.json")):
                sys.stderr.write(f"WARNING: local cache import at {place} not found: no index.json\n")
                continue
            source = beside.add(place, build_cache.reachable(place, values.get("digest", "")))
        found.append(build_cache.request(values, source))
    return found


def _is_remote(path: str) -> bool:
    if os.path.isdir(path):
        return False
    return path.startswith(("http://", "https://", "git://", "git@", "ssh://", "github.com/"))


def _from_stdin(dockerfile: str, beside: _Beside) -> Context:
    if dockerfile == "-":
        raise CliError("invalid argument: can't use stdin for both build context and dockerfile")
    head = b""
    while len(head) < _HEAD and (data := os.read(0, _CHUNK)):
        head += data
    if head.startswith(_COMPRESSED) or head[257:262] == b"ustar":
        if beside.places:
            raise CliError(
                "ERROR: an archive from stdin cannot go with directories of --build-context and --cache-from"
            )
        return Context(_joined(head), dockerfile or "Dockerfile")
    source = b"".join(_joined(head))
    return Context(_with(iter([file(OUTSIDE, source)]), beside), OUTSIDE)


def _joined(head: bytes) -> Iterator[bytes]:
    if head:
        yield head
    while data := os.read(0, _CHUNK):
        yield data


def _directory(path: str, dockerfile: str, beside: _Beside) -> Context:
    if not os.path.exists(path):
        raise CliError(f"unable to prepare context: path {_quoted(path)} not found")
    if not os.path.isdir(path):
        raise CliError(f"unable to prepare context: context must be a directory: {os.path.abspath(path)}")
    root = os.path.realpath(path)
    source: bytes | None = None
    place = ""
    if dockerfile == "-":
        source = b"".join(_joined(b""))
        name = OUTSIDE
    else:
        place = dockerfile or os.path.join(root, "Dockerfile")
        if not dockerfile and not os.path.exists(place) and os.path.exists(os.path.join(root, "dockerfile")):
            place = os.path.join(root, "dockerfile")
        if not os.path.exists(place) and dockerfile and not os.path.isabs(dockerfile):
            place = os.path.join(root, dockerfile)
        if not os.path.exists(place):
            raise CliError(f"failed to read dockerfile: open {dockerfile or 'Dockerfile'}: no such file or directory")
        resolved = os.path.realpath(place)
        name = os.path.relpath(resolved, root)
        if name == ".." or name.startswith("../"):
            with open(resolved, "rb") as opened:
                source = opened.read()
            name = OUTSIDE
    rules = _rules(root, place)
    keep = {name, ".dockerignore", f"{name}.dockerignore"}

    def skip(relative: str, is_directory: bool) -> bool:
        return relative not in keep and rules is not None and rules.skips(relative, is_directory)

    return Context(_with(_packed(root, skip, source), beside), name)


def _rules(root: str, dockerfile: str) -> ignore.Ignore | None:
    places = [f"{dockerfile}.dockerignore"] if dockerfile else []
    for place in [*places, os.path.join(root, ".dockerignore")]:
        try:
            with open(place, "rb") as opened:
                text = opened.read()
        except FileNotFoundError:
            continue
        from sampan.builds import ignore

        try:
            return ignore.Ignore(ignore.read(text))
        except Exception as error:
            raise CliError(f"error checking context: {error}") from None
    return None


def _packed(root: str, skip: Callable[[str, bool], bool], source: bytes | None) -> Iterator[bytes]:
    yield from _gathered(pack_inside(root, "", skip))
    if source is not None:
        yield file(OUTSIDE, source)


def _with(main: Iterator[bytes], beside: _Beside) -> Iterator[bytes]:
    yield from main
    for number, (place, skip) in enumerate(beside.places):
        yield from _gathered(pack_inside(os.path.realpath(place), f"{NAMED}/{number}/", skip))
    yield END


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _quoted(text: str) -> str:
    from sampan.golang import quote

    return quote(text)
