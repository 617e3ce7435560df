"""Names of git repositories: `URL#ref:directory`, and `URL?branch=…&subdir=…` as BuildKit takes it since 2025. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlsplit, urlunsplit

from sampan.errors import InvalidParameter
from sampan.golang import boolean, quote

_SCP = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:.+")
_SWITCHES = frozenset(("submodules", "keep-git-dir", "fetch-by-commit"))


@dataclass(frozen=True, slots=True)
class Git:
    """`checksum`: the commit it must be, or how that begins. `keep_git_dir` of None: as who asks wants it."""

    url: str
    ref: str = ""
    subdirectory: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True
    commit_times: bool = False
    """Files get the commit's time (`mtime=commit`), not that of the checkout."""
    by_commit: bool = field(default=False)
    """`checksum` is fetched itself, whatever `ref` is by now."""


def parse(text: str) -> Git | None:
    """None for what is none. Raises `InvalidParameter` in BuildKit's words."""
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    bare, _, fragment = text.partition("#")
    if not scheme:
        return _with_fragment(Git(bare), fragment) if _SCP.fullmatch(bare) else None
    if scheme not in ("git", "ssh", "http", "https"):
        return None
    parts = urlsplit(bare)
    if scheme in ("http", "https") and not parts.path.endswith(".git"):
        return None
    found = _with_fragment(Git(urlunsplit(parts._replace(query=""))), fragment)
    return _with_query(found, parse_qs(parts.query, keep_blank_values=True)) if parts.query else found


def _with_fragment(git: Git, fragment: str) -> Git:
    ref, _, directory = fragment.partition(":")
    return replace(git, ref=_checked(ref), subdirectory=directory)


def _checked(ref: str) -> str:
    if ref.startswith("-"):
        raise InvalidParameter(f"invalid git reference: {ref}")
    return ref


def _with_query(git: Git, query: Mapping[str, list[str]]) -> Git:
    texts: dict[str, str] = {}
    for key, values in query.items():
        if len(values) > 1:
            raise InvalidParameter(f"query {quote(key)} has multiple values")
        if not values[0] and key not in _SWITCHES:
            raise InvalidParameter(f"query {quote(key)} has no value")
        texts[key] = values[0]
    git = replace(
        git, ref=_ref(git.ref, texts), subdirectory=_same("subdir", git.subdirectory, texts.pop("subdir", ""))
    )
    for key, value in texts.items():
        match key:
            case "checksum" | "commit":
                git = replace(git, checksum=_checked(value))
            case "keep-git-dir":
                git = replace(git, keep_git_dir=_switch(key, value))
            case "submodules":
                git = replace(git, submodules=_switch(key, value))
            case "fetch-by-commit":
                git = replace(git, by_commit=_switch(key, value))
            case "mtime":
                if value not in ("checkout", "commit"):
                    raise InvalidParameter(f'invalid mtime value: {quote(value)} (must be "checkout" or "commit")')
                git = replace(git, commit_times=value == "commit")
            case _:
                raise InvalidParameter(f"unexpected query {quote(key)}")
    return git


def _ref(ref: str, texts: dict[str, str]) -> str:
    ref = _same("ref", ref, texts.pop("ref", ""))
    tag, branch = texts.pop("tag", ""), texts.pop("branch", "")
    if tag and branch:
        raise InvalidParameter("branch conflicts with tag")
    for prefix, name in (("refs/tags/", tag), ("refs/heads/", branch)):
        if name:
            ref = _same("ref", ref, prefix + name.removeprefix(prefix))
    return _checked(ref)


def _same(what: str, before: str, now: str) -> str:
    if before and now and before != now:
        raise InvalidParameter(f"{what} conflicts: {quote(before)} vs {quote(now)}")
    return now or before


def _switch(key: str, value: str) -> bool:
    try:
        return boolean(value) if value else True
    except ValueError:
        raise InvalidParameter(f"invalid {key} value: {quote(value)}") from None
