"""Digests of both algorithms that OCI registers: sha256, and sha512. A hex part alone tells which it is, by its length.
Pure functions."""

from __future__ import annotations

import hashlib
from io import BufferedReader

_LENGTHS = {"sha256": 64, "sha512": 128}


def is_digest(text: str) -> bool:
    algorithm, _, value = text.partition(":")
    return len(value) == _LENGTHS.get(algorithm, -1) and not value.strip("0123456789abcdef")


def algorithm_of(digest: str) -> str:
    return digest.partition(":")[0]


def hex_of(digest: str) -> str:
    return digest.partition(":")[2]


def of_hex(value: str) -> str:
    """The digest whose hex part this is."""
    return f"{'sha512' if len(value) == _LENGTHS['sha512'] else 'sha256'}:{value}"


def of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def of_file(file: BufferedReader, algorithm: str) -> str:
    """From where it stands. Blocks."""
    return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
