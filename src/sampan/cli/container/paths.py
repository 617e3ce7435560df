"""The path rules of `cp`: what a trailing `/` or `/.` means, and under which name a thing arrives (moby/go-archive)."""

from __future__ import annotations

import os

from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Place:
    """One end of a copy. `name` is what the source is to be called where a link was followed, else ""."""

    def __init__(self, path: str, *, exists: bool = False, is_dir: bool = False, name: str = "") -> None:
        self.path = path
        self.exists = exists
        self.is_dir = is_dir
        self.name = name


def clean(path: str) -> str:
    """Go's filepath.Clean."""
    cleaned = os.path.normpath(path) if path else "."
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def base(path: str) -> str:
    """Go's filepath.Base: the last component, "." of nothing, "/" of the root."""
    if not path:
        return "."
    stripped = path.rstrip("/")
    return stripped.rpartition("/")[2] if stripped else "/"


def keep_ending(cleaned: str, original: str) -> str:
    """`cleaned` with the `/.` or `/` that `original` ended in."""
    if base(cleaned) != "." and base(original) == ".":
        cleaned += "." if cleaned.endswith("/") else "/."
    if not cleaned.endswith("/") and original.endswith("/"):
        cleaned += "/"
    return cleaned


def local(path: str) -> str:
    """An absolute path that keeps its meaning."""
    return keep_ending(clean(os.path.join(os.getcwd(), path)), path)


def split(path: str) -> tuple[str, str]:
    """(directory, last component), where a trailing `/.` is a component."""
    cleaned = clean(path)
    if base(path) == ".":
        cleaned = cleaned.rstrip("/") + "/."
        head = cleaned[:-2] or "/"
        return head, "."
    head, _, tail = cleaned.rpartition("/")
    return (head or ("/" if cleaned.startswith("/") else ".")), tail or "/"


def followed(path: str, resolved: str) -> tuple[str, str]:
    """(`resolved` ending as `path` does, the name to give it if the last component changed)."""
    if base(path) == "." and base(resolved) != ".":
        resolved += "/."
    if path.endswith("/") and not resolved.endswith("/"):
        resolved += "/"
    return resolved, base(path) if base(path) != base(resolved) else ""


def source(path: str, follow: bool) -> Place:
    """A local source, links before its last component resolved (all of them with `follow`)."""
    try:
        if follow:
            os.stat(path)
            resolved, name = followed(path, os.path.realpath(path))
        else:
            head, _, tail = path.rpartition("/")
            os.stat(head + "/")
            resolved = os.path.realpath(head + "/").rstrip("/") + "/" + tail
            name = base(path) if path.endswith("/") and base(path) != base(resolved) else ""
        found = os.lstat(resolved)
    except NotADirectoryError:
        raise CliError("not a directory") from None
    except OSError as error:
        shown = os.path.realpath(path) if follow else path
        raise CliError(f"lstat {shown}: {(error.strerror or '').lower()}") from None
    return Place(resolved, exists=True, is_dir=_is_dir(found.st_mode), name=name)


def destination(path: str) -> Place:
    """A local destination, links resolved to the end; its directory must exist."""
    current = path
    for _ in range(12):
        try:
            found = os.lstat(current)
        except FileNotFoundError:
            parent = split(current)[0]
            try:
                is_dir = _is_dir(os.stat(parent).st_mode)
            except OSError as error:
                raise CliError(f"stat {parent}: {(error.strerror or '').lower()}") from None
            if not is_dir:
                raise CliError("not a directory") from None
            return Place(current)
        except OSError as error:
            raise CliError(f"lstat {current}: {(error.strerror or '').lower()}") from None
        if found.st_mode & 0o170000 != 0o120000:
            return Place(current, exists=True, is_dir=_is_dir(found.st_mode))
        current = clean(os.path.join(split(current)[0], os.readlink(current)))
    raise CliError(f"too many symlinks in {path}")


def _is_dir(mode: int) -> bool:
    return mode & 0o170000 == 0o040000


def arrange(origin: Place, target: Place) -> tuple[str, str | None]:
    """(directory to unpack in, name the source gets there or None to keep its own); `CliError` for what cannot be."""
    directory, name = split(target.path)
    if target.exists and target.is_dir:
        return target.path, None
    if target.exists and origin.is_dir:
        raise CliError("cannot copy directory")
    if not target.exists and not origin.is_dir and (target.path.endswith("/") or base(target.path) == "."):
        raise CliError("no such directory")
    return directory, name


def renamer(old: str, new: str) -> Callable[[str], str]:
    """A function that puts `new` in the place of `old` at the beginning of an entry's name."""
    old, new = old.rstrip("/"), new.rstrip("/")

    def rename(name: str) -> str:
        if not old:  # the archive of a whole root: its entries have nothing before them
            stripped = name.lstrip("/")
            return f"{new}/{stripped}" if new else stripped
        rest = name.removeprefix(old)
        if not name.startswith(old) or (rest and not rest.startswith("/")):
            return name
        return new + rest

    return rename
