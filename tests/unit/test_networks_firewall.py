"""The text of our nftables table."""

from __future__ import annotations

from sampan.networks.firewall import BridgeRules, Rule, State, bridge_elements, port_elements, whole


def test_a_port_is_one_element_of_the_map_that_fits() -> None:
    rules = [
        Rule("tcp", "0.0.0.0", 8080, "10.0.0.2", 80),
        Rule("sctp", "0.0.0.0", 8080, "10.0.0.2", 80),
        Rule("udp", "127.0.0.1", 53, "10.0.0.2", 53),
        Rule("tcp", "::", 8080, "fd00::2", 80),
    ]
    assert port_elements("add", "t", rules).splitlines() == [
        "add element inet t published4 { 6 . 8080 : 10.0.0.2 . 80, 132 . 8080 : 10.0.0.2 . 80 }",
        "add element inet t published4_at { 17 . 127.0.0.1 . 53 : 10.0.0.2 . 53 }",
        "add element inet t published6 { 6 . 8080 : fd00::2 . 80 }",
    ]
    assert port_elements("delete", "t", rules[:1]) == "delete element inet t published4 { 6 . 8080 }"
    assert port_elements("add", "t", []) == ""


def test_an_internal_bridge_is_not_masked_and_icc_false_is_not_open() -> None:
    text = bridge_elements("add", "t", BridgeRules("br0", ("10.0.0.0/24",), icc=False, internal=True))
    assert 'internal { "br0" }' in text
    assert "masked4" not in text and " open " not in text


def test_the_mark_is_set_only_beside_a_policy_of_drop() -> None:
    assert "meta mark set" not in whole(State("t"))
    assert "meta mark set meta mark | 0x08000000 accept" in whole(State("t", mark=True))


def test_the_whole_table_replaces_the_old_one() -> None:
    state = State("t", {"n": BridgeRules("br0", ("10.0.0.0/24",))}, {"c": [Rule("tcp", "::1", 1, "fd00::2", 2)]})
    lines = whole(state).splitlines()
    assert lines[:2] == ["add table inet t", "delete table inet t"]
    assert 'add element inet t bridges { "br0" }' in lines
    assert "add element inet t published6_at { 6 . ::1 . 1 : fd00::2 . 2 }" in lines


def test_a_routed_bridge_is_not_masked_and_its_ports_are_open_not_translated() -> None:
    bridge = BridgeRules("br0", ("10.0.0.0/24", "fd00::/64"), routed=(6,), unprotected=(4,))
    lines = bridge_elements("add", "t", bridge).splitlines()
    assert 'add element inet t routed6 { "br0" }' in lines and 'add element inet t unprotected4 { "br0" }' in lines
    assert "add element inet t masked4 { 10.0.0.0/24 }" in lines
    assert not any("masked6" in line for line in lines)
    assert port_elements("delete", "t", [Rule("tcp", "::", 0, "fd00::2", 80)]) == (
        "delete element inet t reached6 { fd00::2 . 6 . 80 }"
    )


def test_no_name_needs_the_hosts_etc_protocols() -> None:
    state = State("t", {"n": BridgeRules("br0", ("10.0.0.0/24", "fd00::/64"), routed=(4, 6))})
    state.rules["c"] = [
        Rule(name, "0.0.0.0", port, "10.0.0.2", 1) for name in ("tcp", "udp", "sctp") for port in (0, 9)
    ]
    words = whole(state).replace(";", " ").split()
    assert not {"tcp", "udp", "sctp", "icmp", "ipv6-icmp", "icmpv6"} & set(words)
