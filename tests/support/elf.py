"""A program of a few bytes for x86-64, so that a test needs no compiler: static, no libc, one system call and exit."""

from __future__ import annotations

import struct

BASE = 0x400000
_HEADERS = 64 + 56


def program(code: bytes) -> bytes:
    """An ELF file that runs `code` (position: 0x400078)."""
    size = _HEADERS + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000) + code


def exits_with_euid() -> bytes:
    """geteuid(2), then exit(2) with its low byte."""
    return program(b"\xb8\x6b\0\0\0\x0f\x05" + b"\x89\xc7\xb8\x3c\0\0\0\x0f\x05")
