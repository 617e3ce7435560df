"""`USER` and `--user`: names and ids looked up in the container's own /etc/passwd and /etc/group.

Both files are the image's: read inside its root (no symlink leads out), regular files only, and no more than 4 MiB,
so that neither a FIFO (CVE-2024-9676) nor a giant file stops the daemon. Numbers out of range are refused and never
taken for names, nor anything for 0 (CVE-2026-46680). The rules are libcontainer's (`user.GetExecUser`), the messages
Docker's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sampan.errors import SampanError
from sampan.linux import openat2

_LIMIT = 4 << 20
_MAX_ID = (1 << 31) - 1
_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class User:
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    """All supplementary groups, the primary one first."""
    home: str = field(default="/", compare=False)

    def oci(self) -> dict[str, object]:
        return {"uid": self.uid, "gid": self.gid, "additionalGids": list(self.groups)}


def resolve(root: int, spec: str, group_add: Sequence[str] = ()) -> User:
    """`spec` is "", user, uid, user:group…; `root` a descriptor of the root filesystem. Raises `SampanError` (500, as
    dockerd)."""
    name, _, group = spec.partition(":")
    passwd, groups = _read(root, "etc/passwd"), _read(root, "etc/group")
    uid, gid, matched, home = _user(passwd, name)
    extra: list[int] = []
    if group:
        gid = _group(groups, group, f"unable to find group {group}: no matching entries in group file")
    elif matched:
        extra = [number for _, number, members in _groups(groups) if matched in members and number is not None]
    for wanted in group_add:
        extra.append(_group(groups, wanted, f"Unable to find group {wanted}: no matching entries in group file"))
    return User(uid, gid, (gid, *extra), home)


def _read(root: int, path: str) -> list[list[str]]:
    try:
        data = openat2.read_in_root(root, path, _LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SampanError(f"cannot read /{path} of the container: {error.strerror}") from None
    return [line.strip().split(":") for line in data.decode(errors="replace").splitlines() if line.strip()]


def _user(passwd: list[list[str]], name: str) -> tuple[int, int, str, str]:
    """(uid, gid, name in the file, "" without an entry, home)."""
    number = _number(name) if name else 0
    for entry in passwd:
        if len(entry) < 3:
            continue
        uid = _number(entry[2], strict=False)
        if (name and entry[0] == name) or (uid is not None and uid == number):
            gid = _number(entry[3], strict=False) if len(entry) > 3 else 0
            if uid is None or gid is None:
                raise _out_of_range()
            return uid, gid, entry[0], (entry[5] if len(entry) > 5 else "") or "/"
    if number is None:
        raise SampanError(f"unable to find user {name}: no matching entries in passwd file")
    return number, 0, "", "/"


def _group(groups: list[list[str]], name: str, unknown: str) -> int:
    number = _number(name)
    for found, gid, _ in _groups(groups):
        if found == name or (gid is not None and gid == number):
            if gid is None:
                raise _out_of_range()
            return gid
    if number is None:
        raise SampanError(unknown)
    return number


def _groups(groups: list[list[str]]) -> Iterator[tuple[str, int | None, list[str]]]:
    for entry in groups:
        if len(entry) >= 3:
            yield entry[0], _number(entry[2], strict=False), entry[3].split(",") if len(entry) > 3 else []


def _number(text: str, *, strict: bool = True) -> int | None:
    """None for what is not a number. An id out of range raises, or is None when not strict."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text) if len(text) < 20 else _MAX_ID + 1
    if 0 <= number <= _MAX_ID:
        return number
    if strict:
        raise _out_of_range()
    return None


def _out_of_range() -> SampanError:
    return SampanError(f"uids and gids must be in range 0-{_MAX_ID}")
