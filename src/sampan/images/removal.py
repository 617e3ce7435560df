"""`rmi`: untag or delete, and when it is refused. Rules, order and messages are dockerd's (moby
daemon/images/image_delete.go).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.errors import Conflict
from sampan.images.holdings import Holdings
from sampan.images.progress import short
from sampan.images.references import Reference, parse

Users = Callable[[str], list[tuple[str, bool]]]
Announce = Callable[[str, str], None]
"""(action, image id)."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """One line of `DELETE /images/{name}`: exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""


class _Refused(Conflict):
    """An image that may not go. `used`: a container has it."""

    def __init__(self, id: str, reason: str, *, hard: bool = False, used: bool = False) -> None:
        force = "cannot be forced" if hard else "must be forced"
        super().__init__(f"conflict: unable to delete {short(id)} ({force}) - {reason}")
        self.used = used


def is_single(names: Sequence[Reference]) -> bool:
    """At most one tag, and all digests of its repository."""
    if len(names) <= 1:
        return True
    tags = [name for name in names if not name.digest]
    if len(tags) > 1:
        return False
    repositories = {name.name for name in names if name.digest}
    return repositories == {(tags or names)[0].name}


class Removal:
    """One `rmi NAME`. Blocks: deletes files."""

    def __init__(self, holdings: Holdings, users: Users, announce: Announce) -> None:
        self._holdings = holdings
        self._catalog = holdings.catalog
        self._users = users
        self._announce = announce
        self.done: list[Deleted] = []
        self._targets: set[str] = set()

    def run(self, ref: str, force: bool, prune: bool) -> list[Deleted]:
        try:
            return self._run(self._catalog.find(ref), ref, force, prune)
        finally:
            self._holdings.collect(self._targets, ())

    def _run(self, id: str, ref: str, force: bool, prune: bool) -> list[Deleted]:
        untagged = False
        if not self._catalog.is_id(ref, id):
            if not force and is_single(self._catalog.names(id)):
                for container, _ in self._users(id):
                    raise Conflict(
                        f'conflict: unable to remove repository reference "{ref}" (must force) - container '
                        f"{container[:12]} is using its referenced image {short(id)}"
                    )
            self._untag(id, parse(ref))
            if self._catalog.names(id):
                return self.done
            untagged = True
        elif is_single(self._catalog.names(id)):
            self._check(id, soft=not force, references=False)
            for name in list(self._catalog.names(id)):
                self._unname(id, name)
        self._delete(id, force, prune, quiet=untagged)
        return self.done

    def _untag(self, id: str, given: Reference) -> None:
        """Removes one reference; with the last tag of a repository its digests go too."""
        name = given._replace(tag="") if given.digest else given.tagged()
        self._unname(id, name)
        if name.digest:
            return
        rest = self._catalog.names(id)
        if any(other.name == name.name and not other.digest for other in rest):
            return
        for other in list(rest):
            if other.name == name.name:
                self._forget(other)

    def _unname(self, id: str, name: Reference) -> None:
        self._forget(name)
        self._announce("untag", id)

    def _forget(self, name: Reference) -> None:
        record = self._catalog.references.get(name.key())
        if record is not None:
            self._targets.add(record.target)
        self._catalog.unname(name)
        self.done.append(Deleted(untagged=name.familiar))

    def _check(self, id: str, *, soft: bool, references: bool = True) -> None:
        """Raises `_Refused`. Hard reasons always count, soft ones unless forced."""
        if self._catalog.children(id):
            raise _Refused(id, "image has dependent child images", hard=True)
        users = self._users(id)
        for container, running in users:
            if running:
                reason = f"image is being used by running container {container[:12]}"
                raise _Refused(id, reason, hard=True, used=True)
        if soft and references and self._catalog.names(id):
            raise _Refused(id, "image is referenced in multiple repositories")
        for container, _ in users if soft else ():
            raise _Refused(id, f"image is being used by stopped container {container[:12]}", used=True)

    def _delete(self, id: str, force: bool, prune: bool, quiet: bool) -> None:
        try:
            self._check(id, soft=not force)
        except _Refused as refused:
            # After an untag, an image that something still needs just stays.
            if quiet and (self._catalog.names(id) or self._catalog.children(id) or refused.used):
                return
            raise
        for name in list(self._catalog.names(id)):
            self._forget(name)
        chain = self._catalog.chain(id)
        record = self._catalog.remove(id)
        removed = self._holdings.collect(self._catalog.blobs_of(id, record), reversed(chain))
        self._catalog.forget(id)
        self._announce("delete", id)
        self.done.append(Deleted(deleted=id))
        self.done += [Deleted(deleted=link) for link in removed]
        if prune and record.parent and record.parent in self._catalog.images and not self._catalog.names(record.parent):
            self._delete(record.parent, False, True, quiet=True)
