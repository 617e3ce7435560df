"""`network create`."""

from __future__ import annotations

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..keyvalues import label, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _network(text: str) -> tuple[Any, Any]:
    """(network, address) of a CIDR, as Go's ParseCIDR has them."""
    from ipaddress import ip_interface

    try:
        if "/" not in text:
            raise ValueError
        interface = ip_interface(text)
    except ValueError:
        raise CliError(f"invalid CIDR address: {text}") from None
    return interface.network, interface.ip


def _matches(subnet: str, other: str) -> bool:
    """Does the subnet hold the address that `other` begins with?"""
    from ipaddress import ip_address

    try:
        network, _ = _network(subnet)
    except CliError as error:
        raise CliError(f"invalid subnet: {error}") from None
    if "/" in other:
        return _network(other)[1] in network
    try:
        return ip_address(other) in network
    except ValueError:
        return False


def ipam_config(
    subnets: list[str], ranges: list[str], gateways: list[str], auxiliary: dict[str, str]
) -> list[dict[str, Any]]:
    """The IPAM configurations: each range, gateway and address goes to the subnet that holds it."""
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise CliError("every ip-range or gateway must have a corresponding subnet")
    found: dict[str, dict[str, Any]] = {}
    for subnet in subnets:
        for known in found:
            if _matches(subnet, known) or _matches(known, subnet):
                raise CliError("multiple overlapping subnet configuration is not supported")
        found[subnet] = {"Subnet": subnet}
    for text in ranges:
        _network(text)
        _put(found, subnets, text, "IPRange", "range", "multiple ranges", "on")
    for text in gateways:
        _put(found, subnets, text, "Gateway", "gateway", "multiple gateways", "for")
    for name, address in auxiliary.items():
        held = [subnet for subnet in subnets if _matches(subnet, address)]
        if not held:
            raise CliError(f"no matching subnet for aux-address {address}")
        for subnet in held:
            found[subnet].setdefault("AuxiliaryAddresses", {})[name] = address
    return list(found.values())


def _put(
    found: dict[str, dict[str, Any]], subnets: list[str], text: str, key: str, what: str, many: str, preposition: str
) -> None:
    held = [subnet for subnet in subnets if _matches(subnet, text)]
    if not held:
        raise CliError(f"no matching subnet for {what} {text}")
    for subnet in held:
        if key in found[subnet]:
            both = f"({text}, {found[subnet][key]})"
            raise CliError(f"cannot configure {many} {both} {preposition} the same subnet ({subnet})")
        found[subnet][key] = text


def _create(cli: Cli, flags: Flags, args: list[str]) -> int:
    ipam = {
        "Driver": flags.text("ipam-driver"),
        "Options": pairs(flags.many("ipam-opt")),
        "Config": ipam_config(
            flags.many("subnet"), flags.many("ip-range"), flags.many("gateway"), pairs(flags.many("aux-address"))
        ),
    }
    body: dict[str, Any] = {
        "Name": args[0],
        "Driver": flags.text("driver"),
        "Scope": flags.text("scope"),
        "IPAM": ipam,
        "Internal": flags.yes("internal"),
        "Attachable": flags.yes("attachable"),
        "Ingress": flags.yes("ingress"),
        "ConfigOnly": flags.yes("config-only"),
        "ConfigFrom": {"Network": flags.text("config-from")} if flags.text("config-from") else None,
        "Options": pairs(flags.many("opt")),
        "Labels": pairs(flags.many("label")),
    }
    if flags.changed("ipv4"):
        body["EnableIPv4"] = flags.yes("ipv4")
    if flags.changed("ipv6"):
        body["EnableIPv6"] = flags.yes("ipv6")
    if not cli.client.at_least("1.44"):
        body["CheckDuplicate"] = True  # older daemons allow two networks of one name unless asked to look
    cli.out(f"{cli.client.post('/networks/create', body=body)['Id']}\n")
    return 0


def _split(text: str) -> list[str]:
    return text.split(",")


COMMAND = Command(
    "[OPTIONS] NETWORK",
    _create,
    least=1,
    most=1,
    flags=(
        Flag("driver", "string", "Driver to manage the Network", short="d", default="bridge", shown='"bridge"'),
        Flag("opt", "map", "Set driver specific options", short="o", shown="map[]"),
        Flag("label", "list", "Set metadata on a network", parse=label),
        Flag("internal", "bool", "Restrict external access to the network"),
        Flag("ipv4", "bool", "Enable or disable IPv4 address assignment", default=True, shown="true"),
        Flag("ipv6", "bool", "Enable or disable IPv6 address assignment"),
        Flag("attachable", "bool", "Enable manual container attachment"),
        Flag("ingress", "bool", "Create swarm routing-mesh network"),
        Flag("scope", "string", "Control the network's scope"),
        Flag("config-only", "bool", "Create a configuration only network"),
        Flag("config-from", "string", "The network from which to copy the configuration"),
        Flag("ipam-driver", "string", "IP Address Management Driver", default="default", shown='"default"'),
        Flag("subnet", "strings", "Subnet in CIDR format that represents a network segment", parse=_split),
        Flag("ip-range", "strings", "Allocate container ip from a sub-range", parse=_split),
        Flag("gateway", "strings", "IPv4 or IPv6 Gateway for the master subnet", parse=_split),
        Flag("aux-address", "map", "Auxiliary IPv4 or IPv6 addresses used by Network driver", shown="map[]"),
        Flag("ipam-opt", "map", "Set IPAM driver specific options", shown="map[]"),
    ),
)
