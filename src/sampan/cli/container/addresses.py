"""Readers of `--dns`, `--dns-search`, `--add-host`, `--link`, `--mac-address`: names and addresses on the command line.

Addresses are checked with inet_pton: importing `ipaddress` costs 5 ms.
"""

from __future__ import annotations

import _socket

from sampan.golang import quote


def ip_version(text: str) -> int:
    """4 or 6, 0 for what is no address (Go's net.ParseIP: no zones, no leading zeros)."""
    for family, version in ((_socket.AF_INET, 4), (_socket.AF_INET6, 6)):
        try:
            _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return version
    return 0


def canonical(text: str) -> str:
    family = _socket.AF_INET if ip_version(text) == 4 else _socket.AF_INET6
    return _socket.inet_ntop(family, _socket.inet_pton(family, text))


def ip_flag(text: str) -> str:
    stripped = text.strip()
    if not ip_version(stripped):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return canonical(stripped)


def _is_domain(text: str) -> bool:
    name = text.removesuffix(".")
    return (
        any(char.isascii() and char.isalpha() for char in text)
        and 0 < len(name) < 255
        and all(
            label
            and label[0] != "-"
            and label[-1] != "-"
            and all(char.isascii() and (char.isalnum() or char == "-") for char in label)
            for label in name.split(".")
        )
    )


def search_flag(text: str) -> str:
    name = text.strip(" ")
    if name == ".":
        return name
    if not _is_domain(name):
        raise ValueError(f"{name} is not a valid domain")
    return name.removesuffix(".")


def host_flag(text: str) -> str:
    """`--add-host name:address`, `name=address`, `name:[address]`; the API takes the first form only."""
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not separator or not name or ":" in name:
        raise ValueError(f"bad format for add-host: {quote(text)}")
    if address != "host-gateway":
        if len(address) > 2 and address[0] == "[" and address[-1] == "]":
            address = address[1:-1]
        if not ip_version(address.strip()):
            raise ValueError(f"invalid IP address in add-host: {quote(address)}")
    return f"{name}:{address}"


def link_flag(text: str) -> str:
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    return text


def is_mac(text: str) -> bool:
    """Go's net.ParseMAC: 6, 8 or 20 bytes in hexadecimal, with colons, dashes, or dots every four digits."""
    text = text.strip()
    for mark, width in ((":", 2), ("-", 2), (".", 4)):
        parts = text.split(mark)
        if len(parts) > 1:
            digits = all(
                len(part) == width and all(char in "0123456789abcdefABCDEF" for char in part) for part in parts
            )
            return digits and len(parts) * width // 2 in (6, 8, 20)
    return False
