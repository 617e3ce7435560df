"""What COPY and ADD name as sources, found: globs resolved inside a root, and everything they mean digested."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.builds import checksums
from sampan.builds.indexing import Index, Node
from sampan.errors import InvalidParameter, SampanError
from sampan.linux import openat2

_WILD = re.compile(r"[*?\[]")
Skip = Callable[[str, bool], bool]


@dataclass(frozen=True, slots=True)
class Source:
    """One source file or directory. `path` is below the root; `kept` is the part that --parents keeps. `node`: it is
    not unpacked. `base`: what --parents does not keep of it."""

    root: Path
    path: str
    kept: str = ""
    directory: bool = False
    node: Node | None = None
    base: str = ""

    def skip(self, skip: Skip) -> Skip:
        """With --parents, patterns are about the paths that are kept."""
        return (lambda path, directory: skip(f"{self.kept}/{path}", directory)) if self.kept else skip

    def open(self, root: int) -> tuple[int, str]:
        """As `checksums.open_source`; a symlink that --parents names is copied itself."""
        if not self.kept:
            return checksums.open_source(root, self.path)
        parent, last = openat2.open_parent(root, self.path)
        return parent, os.fsdecode(last)


@dataclass(frozen=True, slots=True)
class Digested:
    """`kind` is file, dir or multi, as the history says. `files`: digests by shown path, for explaining."""

    kind: str
    digest: str
    files: dict[str, str]


def find(root: Path, patterns: Sequence[str], command: str, *, parents: bool, context: bool) -> list[Source]:
    """Raises `SampanError` in dockerd's words for what is not there. A pattern may match nothing (`yarn.lock*`).
    Blocks."""
    found: list[Source] = []
    with openat2.root(root) as opened:
        for pattern in patterns:
            matched = list(_matches(opened, root, pattern, parents, lambda path: _missing(path, command, context)))
            if not matched and not _WILD.search(pattern):
                raise _missing(_clean(pattern), command, context)
            found += matched
    return found


def _missing(path: str, command: str, context: bool) -> SampanError:
    where = "file not found in build context or excluded by .dockerignore: " if context else ""
    return SampanError(f"{command} failed: {where}stat {path}: file does not exist")


def _clean(pattern: str) -> str:
    return posixpath.normpath("/" + pattern).lstrip("/") or "."


def check_escape(pattern: str, command: str, found: Sequence[Source]) -> None:
    """What climbs out of the root is looked for inside it, as BuildKit does. When it is not there, dockerd's words."""
    if not found and posixpath.normpath(pattern.lstrip("/")).split("/")[0] == "..":
        raise InvalidParameter(f"{command} failed: forbidden path outside the build context: {pattern} ()")


def _matches(
    opened: int, root: Path, pattern: str, parents: bool, missing: Callable[[str], SampanError]
) -> Iterator[Source]:
    clean, base = _place(pattern, parents)
    for path in _expanded(clean, parents, lambda path: _listed(opened, path)):
        try:
            descriptor = openat2.open_in_root(opened, path, os.O_PATH | (os.O_NOFOLLOW if parents else 0))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                if path != clean and _is_link(opened, path):
                    raise missing(path) from None
                continue
            raise
        try:
            directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)
        actual = _actual(path, base)
        yield Source(root, path, _kept(path, actual) if parents else "", directory, base=actual)


def _is_link(opened: int, path: str) -> bool:
    try:
        descriptor = openat2.open_in_root(opened, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    os.close(descriptor)
    return True


def _place(pattern: str, parents: bool) -> tuple[str, str]:
    """(path in the root, the part of it that --parents does not keep)."""
    if not parents or "/./" not in pattern:
        return _clean(pattern), ""
    base, _, rest = pattern.partition("/./")
    return _clean(f"{_clean(base)}/{_clean(rest)}"), _clean(base)


def _actual(path: str, base: str) -> str:
    """A base with wildcards, as far as this path has it."""
    return "/".join(path.split("/")[: len(base.split("/"))]) if _WILD.search(base) else base


def _kept(path: str, base: str) -> str:
    if path == base:
        return ""
    return path.removeprefix(base + "/") if base != "." else path


def _expanded(pattern: str, deep: bool, listed: Callable[[str], list[tuple[str, bool]]]) -> Iterator[str]:
    """The paths a pattern with `*`, `?`, `[…]` (one level) and, when `deep`, `**` (any) means, sorted."""
    if not _WILD.search(pattern):
        yield pattern
        return
    parts = pattern.split("/")
    waiting = [("", 0)]
    results: set[str] = set()
    while waiting:
        base, position = waiting.pop()
        if position == len(parts):
            results.add(base)
            continue
        part = parts[position]
        if not _WILD.search(part):
            waiting.append((f"{base}/{part}" if base else part, position + 1))
            continue
        any_level = deep and part == "**"
        if any_level:
            waiting.append((base, position + 1))
        expression = _translated(part)
        for name, is_directory in listed(base):
            inner = f"{base}/{name}" if base else name
            if any_level:
                if is_directory:
                    waiting.append((inner, position))
                elif position == len(parts) - 1:
                    results.add(inner)
            elif expression.fullmatch(name) and (is_directory or position == len(parts) - 1):
                waiting.append((inner, position + 1))
    yield from sorted(results - {""})


def _listed(opened: int, path: str) -> list[tuple[str, bool]]:
    try:
        directory = openat2.open_in_root(opened, path or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        with os.scandir(directory) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    finally:
        os.close(directory)


def _translated(part: str) -> re.Pattern[str]:
    """Go's filepath.Match, one component. Raises `InvalidParameter` for a bracket that never closes."""
    out: list[str] = []
    position = 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "\\" and position < len(part):
            out.append(re.escape(part[position]))
            position += 1
        elif character == "[":
            end = part.find("]", position + 1)
            if end < 0:
                raise InvalidParameter("syntax error in pattern")
            inside = part[position:end]
            negated = inside.startswith("^")
            out.append(f"[{'^' if negated else ''}{inside[negated:]}]".replace("\\", "\\\\"))
            position = end + 1
        else:
            out.append(re.escape(character))
    return re.compile("".join(out), re.DOTALL)


def digested(found: Sequence[Source], skip: Skip, *, owner: bool, mode: bool) -> Digested:
    """Blocks for as long as it takes to read everything."""
    total = hashlib.sha256()
    files: dict[str, str] = {}
    for source in found:
        shown = "" if source.directory else posixpath.basename(source.path)
        for member in _members(source, source.skip(skip), owner, mode):
            place = posixpath.join(source.path, member.path) if member.path else source.path
            files[place] = member.digest
            line = f"{source.kept}\0{shown}\0{member.path}\0{member.digest}\n"
            total.update(line.encode("utf-8", "surrogateescape"))
    kind = "multi" if len(found) != 1 else "dir" if found[0].directory else "file"
    return Digested(kind, total.hexdigest(), files)


def _members(source: Source, skip: Skip, owner: bool, mode: bool) -> Iterator[checksums.Member]:
    if source.node is not None:
        yield from checksums.indexed(source.node, skip, owner=owner, mode=mode)
        return
    with openat2.root(source.root) as root:
        parent, name = source.open(root)
        try:
            yield from checksums.members(parent, name, skip, owner=owner, mode=mode)
        finally:
            os.close(parent)


def find_indexed(index: Index, root: Path, pattern: str, *, parents: bool) -> list[Source] | None:
    """As `find`, in a context that is not unpacked; None when that cannot tell: nothing found, or a symlink."""
    clean, base = _place(pattern, parents)
    found: list[Source] = []
    for path in _expanded_in(index, clean, parents):
        node = index.find(path, follow=not parents)
        if node is None:
            return None
        actual = _actual(path, base)
        kept = _kept(path, actual) if parents else ""
        found.append(Source(root, path, kept, node.is_directory, node, actual))
    return found or None


def _expanded_in(index: Index, pattern: str, deep: bool) -> list[str]:
    if not _WILD.search(pattern):
        return [pattern]

    def listed(path: str) -> list[tuple[str, bool]]:
        node = index.find(path)
        return [(name, child.is_directory) for name, child in node.children.items()] if node is not None else []

    return list(_expanded(pattern, deep, listed))
