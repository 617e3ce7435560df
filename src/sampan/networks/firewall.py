"""The rules of our own nftables table, as text for libnftables. Pure.

One table in the inet family carries everything; an endpoint or port adds and deletes set elements only, so the cost of
a packet does not grow with the number of containers or ports. Nothing here touches a table of anyone else.

How a packet meets it: `raw` keeps containers off the host's loopback (route_localnet is on for our bridges);
`prerouting` and `output` translate published ports; `forward` decides what may cross into a bridge (answers, published
ports, the bridge's own traffic where icc is on, what the gateway mode allows) and out of one (anything but from an
internal network); `postrouting` masks what leaves. `accept` in a chain of ours does not override another table's drop:
see `sampan.networks.forwarding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MARK = 0x08000000
"""The bit of the packet mark that says "passed our forward chain", for the accept rule in a foreign chain. Not one of
Kubernetes' (0x4000, 0x8000), Tailscale's (0xff0000) or Calico's defaults."""

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
"""Numbers, here and in the table: libnftables looks names up in /etc/protocols, which a host without netbase lacks."""

# Everything but elements. {mark} is the statement that marks, or nothing.
_TABLE = """
table inet {table} {{
  map published4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map published4_at {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }}
  map published6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
  map published6_at {{ type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }}
  set bridges {{ type ifname; }}
  set internal {{ type ifname; }}
  set open {{ type ifname . ifname; }}
  set hairpin4 {{ type ipv4_addr . ifname; flags interval; }}
  set hairpin6 {{ type ipv6_addr . ifname; flags interval; }}
  map source4 {{ type ipv4_addr : ipv4_addr; flags interval; }}
  map source6 {{ type ipv6_addr : ipv6_addr; flags interval; }}
  set reached4 {{ type ipv4_addr . inet_proto . inet_service; }}
  set reached6 {{ type ipv6_addr . inet_proto . inet_service; }}
  set routed4 {{ type ifname; }}
  set routed6 {{ type ifname; }}
  set unprotected4 {{ type ifname; }}
  set unprotected6 {{ type ifname; }}
  set masked4 {{ type ipv4_addr; flags interval; }}
  set masked6 {{ type ipv6_addr; flags interval; }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local jump publish
    ip6 daddr != ::1 fib daddr type local jump publish
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump publish
  }}
  chain publish {{
    dnat ip to meta l4proto . ip daddr . th dport map @published4_at
    dnat ip to meta l4proto . th dport map @published4
    ip6 daddr != ::1 dnat ip6 to meta l4proto . ip6 daddr . th dport map @published6_at
    ip6 daddr != ::1 dnat ip6 to meta l4proto . th dport map @published6
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    ct status dnat ip saddr . oifname @hairpin4 masquerade
    ct status dnat ip6 saddr . oifname @hairpin6 masquerade
    oifname @bridges return
    snat ip to ip saddr map @source4
    snat ip6 to ip6 saddr map @source6
    ip saddr @masked4 masquerade
    ip6 saddr @masked6 masquerade
  }}
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    oifname @bridges goto enter
    iifname @bridges goto leave
  }}
  chain enter {{
    ct state established,related goto ours
    iifname . oifname @open goto ours
    iifname @internal drop
    ct status dnat goto ours
    ip daddr . meta l4proto . th dport @reached4 goto ours
    ip6 daddr . meta l4proto . th dport @reached6 goto ours
    ip protocol 1 oifname @routed4 goto ours
    meta l4proto 58 oifname @routed6 goto ours
    iifname @bridges drop
    meta nfproto ipv4 oifname @unprotected4 goto ours
    meta nfproto ipv6 oifname @unprotected6 goto ours
    drop
  }}
  chain leave {{
    iifname @internal drop
    goto ours
  }}
  chain ours {{
    {mark}accept
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """What one bridge's packets may do. `subnets` are CIDRs of both families."""

    name: str
    subnets: tuple[str, ...] = ()
    masquerade: bool = True
    source4: str = ""
    """What packets to the outside get as their source instead of the outgoing interface's address."""
    source6: str = ""
    icc: bool = True
    internal: bool = False
    routed: tuple[int, ...] = ()
    """The IP versions without translation: what is published is reached at the container's own address."""
    unprotected: tuple[int, ...] = ()
    """The IP versions in which every port of a container is reached from outside."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One published port: host side (`host_ip` 0.0.0.0 or :: for all addresses) and the container's address and port
    of the same family. `host_port` 0: no translation, the container's port is open."""

    protocol: str
    host_ip: str
    host_port: int
    container_ip: str
    container_port: int


@dataclass(slots=True)
class State:
    """All that the table must say."""

    table: str
    bridges: dict[str, BridgeRules] = field(default_factory=dict)
    rules: dict[str, list[Rule]] = field(default_factory=dict)
    """By container id."""
    mark: bool = False


def whole(state: State) -> str:
    """Replaces the whole table in one transaction, so that no packet ever meets a half-made one."""
    mark = f"meta mark set meta mark | {MARK:#010x} " if state.mark else ""
    parts = [
        f"add table inet {state.table}",
        f"delete table inet {state.table}",
        _TABLE.format(table=state.table, mark=mark),
    ]
    for bridge in state.bridges.values():
        parts.append(bridge_elements("add", state.table, bridge))
    parts.append(port_elements("add", state.table, [rule for rules in state.rules.values() for rule in rules]))
    return "\n".join(parts)


def nothing(table: str) -> str:
    """Removes the table (which need not exist)."""
    return f"add table inet {table}\ndelete table inet {table}"


def bridge_elements(verb: str, table: str, bridge: BridgeRules) -> str:
    """`verb` is add or delete."""
    name = f'"{bridge.name}"'
    lines = [_element(verb, table, "bridges", [name])]
    if bridge.internal:
        lines.append(_element(verb, table, "internal", [name]))
    for kind, versions in (("routed", bridge.routed), ("unprotected", bridge.unprotected)):
        lines += [_element(verb, table, f"{kind}{version}", [name]) for version in versions]
    if bridge.icc:
        lines.append(_element(verb, table, "open", [f"{name} . {name}"]))
    for subnet in bridge.subnets:
        family = 6 if ":" in subnet else 4
        lines.append(_element(verb, table, f"hairpin{family}", [f"{subnet} . {name}"]))
        if bridge.masquerade and not bridge.internal and family not in bridge.routed:
            source = bridge.source6 if family == 6 else bridge.source4
            if source:
                value = f" : {source}" if verb == "add" else ""
                lines.append(_element(verb, table, f"source{family}", [subnet + value]))
            else:
                lines.append(_element(verb, table, f"masked{family}", [subnet]))
    return "\n".join(lines)


def port_elements(verb: str, table: str, rules: Iterable[Rule]) -> str:
    """`verb` is add or delete. One line a map, however many ports."""
    elements: dict[str, list[str]] = {}
    for rule in rules:
        family = 6 if ":" in rule.container_ip else 4
        if not rule.host_port:
            element = f"{rule.container_ip} . {_PROTOCOLS[rule.protocol]} . {rule.container_port}"
            elements.setdefault(f"reached{family}", []).append(element)
            continue
        everywhere = rule.host_ip in ("0.0.0.0", "::")
        address = "" if everywhere else f"{rule.host_ip} . "
        key = f"{_PROTOCOLS[rule.protocol]} . {address}{rule.host_port}"
        value = f" : {rule.container_ip} . {rule.container_port}" if verb == "add" else ""
        elements.setdefault(f"published{family}" + ("" if everywhere else "_at"), []).append(key + value)
    return "\n".join(_element(verb, table, where, found) for where, found in elements.items())


def _element(verb: str, table: str, where: str, elements: Sequence[str]) -> str:
    return f"{verb} element inet {table} {where} {{ {', '.join(elements)} }}"
