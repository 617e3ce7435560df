"""Beside other engines and firewalls whose FORWARD policy is DROP.

In netfilter a drop in any base chain is final, so packets that our own table let through still die in a chain of
somebody else with policy drop (dockerd, ufw and nftables.conf make such). There, and only there, one rule is appended
at the very end: accept what our forward chain marked. Being last it overrides the policy and never a rule; matching
our mark it says nothing about other packets; and iptables(8) can still list it (`-m mark --mark 0x8000000/0x8000000 -m
comment --comment "sampan …" -j ACCEPT`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sampan.linux.libc import libc
from sampan.linux.nft import Nft, NftError
from sampan.networks.firewall import MARK

_FAMILIES = ("ip", "ip6", "inet")
_IPT_SO_GET_INFO, _IPT_SO_GET_ENTRIES = 64, 65
_HOOK_FORWARD = 2
_NF_DROP_VERDICT = -1


@dataclass(frozen=True, slots=True)
class Chain:
    """A foreign chain on the forward hook whose policy is drop. `family` is ip, ip6 or inet, or legacy / legacy6 for
    x_tables."""

    family: str
    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def look(nft: Nft, own_table: str) -> tuple[list[Chain], bool]:
    """(the foreign chains that drop forwarded packets by policy, whether our own table has its chains)."""
    found = []
    present = False
    for item in nft.query("list chains"):
        chain = item.get("chain", {})
        if (chain.get("family"), chain.get("table"), chain.get("name")) == ("inet", own_table, "ours"):
            present = True
        if chain.get("hook") != "forward" or chain.get("policy") != "drop" or chain["family"] not in _FAMILIES:
            continue
        if (chain["family"], chain["table"]) != ("inet", own_table):
            found.append(Chain(chain["family"], chain["table"], chain["name"]))
    found += [Chain(family, "filter", "FORWARD") for family in ("legacy", "legacy6") if _legacy_drops(family)]
    return found, present


def accept(nft: Nft, own_table: str, chains: list[Chain]) -> list[Chain]:
    """Makes sure that each of `chains` ends with our rule, once. Gives the chains that have it now."""
    having = []
    for chain in chains:
        if chain.family.startswith("legacy"):
            if _legacy(chain, "-C", own_table) or _legacy(chain, "-A", own_table):
                having.append(chain)
            continue
        with contextlib.suppress(NftError):
            if not _handles(nft, chain, own_table):
                nft.run(
                    f"add rule {chain} meta mark & {MARK:#010x} == {MARK:#010x} counter accept comment "
                    f'"{comment(own_table)}"'
                )
            having.append(chain)
    return having


def withdraw(nft: Nft, own_table: str) -> None:
    """Removes our rules from every foreign chain, whatever its policy is by now."""
    for item in nft.query("list chains"):
        chain = item.get("chain", {})
        if chain.get("hook") == "forward" and chain["family"] in _FAMILIES and chain["table"] != own_table:
            foreign = Chain(chain["family"], chain["table"], chain["name"])
            for handle in _handles(nft, foreign, own_table):
                with contextlib.suppress(NftError):
                    nft.run(f"delete rule {foreign} handle {handle}")
    for family in ("legacy", "legacy6"):
        if _legacy_loaded(family):
            _legacy(Chain(family, "filter", "FORWARD"), "-D", own_table)


def comment(own_table: str) -> str:
    return f"sampan {own_table}"


def _handles(nft: Nft, chain: Chain, own_table: str) -> list[int]:
    try:
        items = nft.query(f"list chain {chain}")
    except NftError:
        return []
    rules = (item["rule"] for item in items if "rule" in item)
    return [int(rule["handle"]) for rule in rules if rule.get("comment") == comment(own_table)]


# -- iptables-legacy (x_tables) ------------------------------------------------------------------------------------


def _legacy_loaded(family: str) -> bool:
    """x_tables' filter table exists (asking otherwise would create it)."""
    names = Path("/proc/thread-self/net", "ip6_tables_names" if family == "legacy6" else "ip_tables_names")
    with contextlib.suppress(OSError):
        return "filter" in names.read_text().split()
    return False


def _legacy_drops(family: str) -> bool:
    """Is the policy of x_tables' FORWARD chain DROP? Read by getsockopt, as iptables-legacy(8) does
    (linux/netfilter_ipv4/ip_tables.h)."""
    if not _legacy_loaded(family):
        return False
    inet6 = family == "legacy6"
    level = socket.IPPROTO_IPV6 if inet6 else socket.IPPROTO_IP
    with socket.socket(socket.AF_INET6 if inet6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        info = _getsockopt(raw, level, _IPT_SO_GET_INFO, b"filter".ljust(32, b"\0") + bytes(52))
        if info is None:
            return False
        _, *numbers = struct.unpack("32s13I", info)
        underflow, size = numbers[6:11], numbers[12]
        # struct ipt_get_entries: the name, the size, then (8-byte aligned) the entries.
        entries = _getsockopt(raw, level, _IPT_SO_GET_ENTRIES, struct.pack("32sI4x", b"filter", size) + bytes(size))
    if entries is None:
        return False
    # struct ip{,6}t_entry ends in target_offset; a policy is a standard target: a 32-byte header, then the verdict.
    policy = 40 + underflow[_HOOK_FORWARD]
    (target,) = struct.unpack_from("H", entries, policy + (140 if inet6 else 88))
    (verdict,) = struct.unpack_from("i", entries, policy + target + 32)
    return bool(verdict == _NF_DROP_VERDICT)


def _getsockopt(raw: socket.socket, level: int, option: int, value: bytes) -> bytes | None:
    """getsockopt(2) that passes a value in, which Python's cannot."""
    buffer = ctypes.create_string_buffer(value, len(value))
    length = ctypes.c_uint32(len(value))
    if libc.getsockopt(raw.fileno(), level, option, buffer, ctypes.byref(length)):
        return None
    return buffer.raw


def _legacy(chain: Chain, verb: str, own_table: str) -> bool:
    """One run of iptables-legacy(8): who has a legacy FORWARD policy of DROP has that program. True when it
    succeeded."""
    program = shutil.which("ip6tables-legacy" if chain.family == "legacy6" else "iptables-legacy")
    if program is None:
        return False
    rule = ["-m", "mark", "--mark", f"{MARK:#x}/{MARK:#x}", "-m", "comment", "--comment", comment(own_table)]
    command = [program, "-w", "5", verb, chain.name, *rule, "-j", "ACCEPT"]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}).returncode == 0
