"""`--network` and the older flags beside it (`--ip`, `--network-alias`, …) as EndpointsConfig."""

from __future__ import annotations

from sampan.golang import quote

from ..csvline import fields
from ..errors import CliError
from ..values import integer
from .addresses import is_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags


class Attachment:
    """One network to join and how."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.aliases: list[str] = []
        self.driver_options: dict[str, str] = {}
        self.links: list[str] = []
        self.ip = ""
        self.ip6 = ""
        self.link_local: list[str] = []
        self.mac = ""
        self.priority = 0


def network(text: str) -> Attachment:
    """Read one `--network`: a name, or name=…,alias=…,ip=…; ValueError with docker's words."""
    if not _is_long(text):
        return Attachment(text)
    found = Attachment("")
    for field in fields(text):
        # docker lowers the whole field, values too
        key, equals, value = field.lower().partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key:
            raise ValueError(f"invalid field {field}")
        _set(found, key, value)
    if not found.target:
        raise ValueError("network name/id is not specified")
    return found


def _is_long(text: str) -> bool:
    """Whether a word character stands on both sides of an equals sign."""
    at = text.find("=")
    while at >= 0:
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        if all(char and char.isascii() and (char.isalnum() or char == "_") for char in (before, after)):
            return True
        at = text.find("=", at + 1)
    return False


def _set(found: Attachment, key: str, value: str) -> None:
    if key == "name":
        found.target = value
    elif key == "alias":
        found.aliases.append(value)
    elif key == "ip":
        found.ip = value
    elif key == "ip6":
        found.ip6 = value
    elif key == "mac-address":
        found.mac = value
    elif key == "link-local-ip":
        found.link_local.append(value)
    elif key == "driver-opt":
        name, equals, option = value.partition("=")
        if not equals or not name:
            raise ValueError("invalid key value pair format in driver options")
        found.driver_options[name.strip()] = option.strip()
    elif key == "gw-priority":
        try:
            found.priority = integer(value)
        except ValueError as error:
            problem = str(error).rpartition(": ")[2]
            raise ValueError(f"invalid gw-priority ({value}): {problem}") from None
    else:
        raise ValueError(f"invalid field key {key}")


def is_user_defined(mode: str) -> bool:
    return mode not in ("default", "bridge", "host", "none", "nat") and not mode.startswith("container:")


def endpoints(flags: Flags) -> dict[str, dict[str, Any]]:
    """EndpointsConfig from all network flags; the older ones belong to the first network."""
    given: list[Attachment] = flags.many("network")
    single = len(given) == 1
    found: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(given or [Attachment("default")]):
        if number == 0:
            _apply_older(one, flags)
        endpoint = _endpoint(one)
        if one.target in found:
            raise CliError(f"network {quote(one.target)} is specified multiple times")
        if single and not any(endpoint.values()):
            continue
        found[one.target] = endpoint
    kinds = {is_user_defined(one.target) for one in given}
    if len(kinds) > 1:
        raise CliError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return found


def _apply_older(one: Attachment, flags: Flags) -> None:
    for long_form, short_form, words in (
        (one.aliases, flags.many("network-alias"), "--network-alias and per-network alias"),
        (one.links, flags.many("link"), "--link and per-network links"),
        (one.ip, flags.text("ip"), "--ip and per-network IPv4 address"),
        (one.ip6, flags.text("ip6"), "--ip6 and per-network IPv6 address"),
        (one.mac, flags.text("mac-address"), "--mac-address and per-network MAC address"),
        (one.link_local, flags.many("link-local-ip"), "--link-local-ip and per-network link-local IP addresses"),
    ):
        if long_form and short_form:
            raise CliError(f"conflicting options: cannot specify both {words}")
    one.aliases = one.aliases or flags.many("network-alias")
    if is_user_defined(one.target):
        one.links = flags.many("link")  # on the default bridge these are legacy links of the container
    one.ip = one.ip or flags.text("ip")
    one.ip6 = one.ip6 or flags.text("ip6")
    one.mac = one.mac or flags.text("mac-address")
    one.link_local = one.link_local or flags.many("link-local-ip")


def _endpoint(one: Attachment) -> dict[str, Any]:
    if not one.target.strip():
        raise CliError("no name set for network")
    if not is_user_defined(one.target):
        if one.aliases:
            raise CliError("network-scoped aliases are only supported for user-defined networks")
        if one.links:
            raise CliError("links are only supported for user-defined networks")
    if one.mac and not is_mac(one.mac):
        raise CliError(f"{one.mac} is not a valid mac address")
    ipam: dict[str, Any] = {}
    if one.ip:
        ipam["IPv4Address"] = one.ip
    if one.ip6:
        ipam["IPv6Address"] = one.ip6
    if one.link_local:
        ipam["LinkLocalIPs"] = one.link_local
    return {
        "IPAMConfig": ipam or None,
        "Links": one.links or None,
        "Aliases": one.aliases or None,
        "MacAddress": one.mac,
        "DriverOpts": one.driver_options or None,
        "GwPriority": one.priority,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }
