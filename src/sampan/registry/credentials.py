"""Who may come in: HTTP Basic against an htpasswd file with bcrypt entries (`htpasswd -B`).

A right password is remembered for some minutes by a keyed hash: bcrypt is slow on purpose, and a push asks a hundred
times. The file is read again when it changes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import secrets
import time
from pathlib import Path

from sampan.errors import InvalidParameter
from sampan.registry.failures import UNAUTHORIZED, Refusal

_REMEMBERED = 600.0
_MOST = 1000
_BCRYPT = ("$2a$", "$2b$", "$2y$")


class Htpasswd:
    """Raises `InvalidParameter` when the file or the bcrypt library is missing."""

    def __init__(self, path: Path, realm: str = "sampan registry") -> None:
        try:
            import bcrypt
        except ImportError:
            raise InvalidParameter("htpasswd needs the bcrypt library: install sampan[registry]") from None
        self._bcrypt = bcrypt
        self._path, self._realm = path, realm
        self._stamp: tuple[int, int] = (0, 0)
        self._users: dict[str, bytes] = {}
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))
        self._load()

    def _load(self) -> None:
        try:
            found = self._path.stat()
            if (found.st_mtime_ns, found.st_size) == self._stamp:
                return
            text = self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            if self._users:
                return  # being replaced: what was read stays
            raise InvalidParameter(f"cannot read {self._path}: {error}") from None
        self._users = dict(
            _entry(self._path, number, line) for number, line in enumerate(text.splitlines(), 1) if _counts(line)
        )
        self._stamp = found.st_mtime_ns, found.st_size
        self._known.clear()

    async def check(self, header: str) -> str:
        """The user that an `Authorization` names. Raises `Refusal` (401)."""
        self._load()
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "basic":
            raise self._refusal("authentication required")
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise self._refusal("authentication required") from None
        mark = hashlib.blake2b(header.encode(), key=self._key).digest()
        if self._known.get(mark, 0) > time.monotonic():
            return user
        # an unknown name takes as long as a wrong password: names cannot be guessed by the clock
        stored = self._users.get(user, self._nobody)
        right = await asyncio.to_thread(self._matches, password, stored)
        if not right or user not in self._users:
            raise self._refusal("incorrect username or password")
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[mark] = time.monotonic() + _REMEMBERED
        return user

    def _matches(self, password: str, stored: bytes) -> bool:
        # bcrypt counts 72 bytes; the library refuses more, htpasswd cuts
        return self._bcrypt.checkpw(password.encode()[:72], stored)

    def _refusal(self, message: str) -> Refusal:
        return Refusal(UNAUTHORIZED, message, None, {"WWW-Authenticate": f'Basic realm="{self._realm}"'})


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _entry(path: os.PathLike[str], number: int, line: str) -> tuple[str, bytes]:
    user, colon, stored = line.strip().partition(":")
    if not colon or not user or not stored.startswith(_BCRYPT):
        raise InvalidParameter(f"{os.fspath(path)}:{number}: not a bcrypt entry; make it with `htpasswd -B`")
    return user, stored.encode()
