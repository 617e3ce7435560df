"""A build's context as the tar that is sent: a directory less what .dockerignore leaves out, or what stdin brings."""

from __future__ import annotations

import os

from sampan.builds import ignore

from ..container.tarwriting import END, file, pack_inside
from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED = ".sampan-contexts"
OUTSIDE = ".sampan-dockerfile"
"""The Dockerfile's name in the tar when it is not one of the context's files."""
_CHUNK = 1 << 18
_HEAD = 512
_COMPRESSED = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


class Context:
    """`dockerfile` is the name the daemon finds it by; `contexts` the named ones, as the daemon calls them."""

    def __init__(self, stream: Iterator[bytes] | None, dockerfile: str, remote: str = "") -> None:
        self.stream = stream
        self.dockerfile = dockerfile
        self.remote = remote
        self.contexts: dict[str, str] = {}


def open_context(path: str, dockerfile: str, named: dict[str, str]) -> Context:
    """`dockerfile` is the `-f`, "" without. Raises `CliError` in docker's words."""
    local = {name: value for name, value in named.items() if "://" not in value}
    if path == "-":
        context = _from_stdin(dockerfile)
    elif _is_remote(path):
        context = Context(None, dockerfile or "Dockerfile", path)
    else:
        context = _directory(path, dockerfile, local)
    if local and context.stream is None:
        raise CliError("named contexts of directories need a context that is a directory too")
    context.contexts = {name: value for name, value in named.items() if name not in local}
    context.contexts |= {name: f"local:contexts/{number}" for number, name in enumerate(local)}
    return context


def _is_remote(path: str) -> bool:
    if os.path.isdir(path):
        return False
    return path.startswith(("http://", "https://", "git://", "git@", "ssh://", "github.com/"))


def _from_stdin(dockerfile: str) -> Context:
    if dockerfile == "-":
        raise CliError("invalid argument: can't use stdin for both build context and dockerfile")
    head = b""
    while len(head) < _HEAD and (data := os.read(0, _CHUNK)):
        head += data
    if head.startswith(_COMPRESSED) or head[257:262] == b"ustar":
        return Context(_joined(head), dockerfile or "Dockerfile")
    source = b"".join(_joined(head))
    return Context(iter([file(OUTSIDE, source), END]), OUTSIDE)


def _joined(head: bytes) -> Iterator[bytes]:
    if head:
        yield head
    while data := os.read(0, _CHUNK):
        yield data


def _directory(path: str, dockerfile: str, local: dict[str, str]) -> Context:
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

    for other in local.values():
        if not os.path.isdir(other):
            raise CliError(f"failed to get build context path {other}: stat {other}: no such file or directory")
    return Context(_packed(root, skip, source, list(local.values())), name)


def _rules(root: str, dockerfile: str) -> ignore.Ignore | None:
    places = [f"{dockerfile}.dockerignore"] if dockerfile else []
    for place in [*places, os.path.join(root, ".dockerignore")]:
        try:
            with open(place, "rb") as opened:
                return ignore.Ignore(ignore.read(opened.read()))
        except FileNotFoundError:
            continue
        except Exception as error:
            raise CliError(f"error checking context: {error}") from None
    return None


def _packed(root: str, skip: object, source: bytes | None, others: list[str]) -> Iterator[bytes]:
    assert callable(skip)
    yield from _gathered(pack_inside(root, "", skip))
    if source is not None:
        yield file(OUTSIDE, source)
    for number, other in enumerate(others):
        rules = _rules(other, "")
        wanted = rules.skips if rules is not None else (lambda relative, is_directory: False)
        yield from _gathered(pack_inside(os.path.realpath(other), f"{NAMED}/{number}/", wanted))
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
