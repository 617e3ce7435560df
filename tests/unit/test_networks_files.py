"""/etc/hosts and /etc/resolv.conf, as Docker makes them."""

from __future__ import annotations

from pathlib import Path

from sampan.networks import files


def body(text: str) -> list[str]:
    """Without the header."""
    return text.split("\n\n", 1)[1].splitlines()


HOST = files.parse("# comment\nnameserver 10.0.0.53\nsearch corp.example\noptions edns0\n")


def test_hosts_names_the_container_by_both_its_names() -> None:
    lines = files.hosts(["172.17.0.2"], "web", "example.org", [("db", "1.2.3.4")], [("172.17.0.3", "alias id name")])
    assert lines.splitlines()[0] == "127.0.0.1\tlocalhost"
    assert lines.splitlines()[-3:] == ["1.2.3.4\tdb", "172.17.0.3\talias id name", "172.17.0.2\tweb.example.org web"]
    assert files.hosts([], "web").splitlines()[-1] == "ff02::2\tip6-allrouters"
    assert files.hosts(["10.0.0.2"], "web", ipv6=False) == "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n"


def test_the_default_bridge_has_the_hosts_nameservers() -> None:
    assert body(files.legacy(HOST)) == [
        "nameserver 10.0.0.53",
        "search corp.example",
        "options edns0",
        "",
        "# Based on host file: '/etc/resolv.conf' (legacy)",
        "# Overrides: []",
    ]


def test_loopback_nameservers_of_the_host_are_left_out_and_replaced() -> None:
    local = files.parse("nameserver 127.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\n")
    assert body(files.legacy(local))[:2] == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    given = files.override(local, ["127.0.0.1"], [], [])
    assert body(files.legacy(given))[0] == "nameserver 127.0.0.1"


def test_a_user_defined_network_has_the_internal_nameserver() -> None:
    assert body(files.internal(HOST)) == [
        "nameserver 127.0.0.11",
        "search corp.example",
        "options edns0 ndots:0",
        "",
        "# Based on host file: '/etc/resolv.conf' (internal resolver)",
        "# ExtServers: [10.0.0.53]",
        "# Overrides: []",
        "# Option ndots from: internal",
    ]


def test_flags_override_the_host() -> None:
    given = files.override(HOST, ["1.1.1.1"], ["a.example", "b.example"], ["ndots:3"])
    assert body(files.internal(given)) == [
        "nameserver 127.0.0.11",
        "search a.example b.example",
        "options ndots:3",
        "",
        "# Based on host file: '/etc/resolv.conf' (internal resolver)",
        "# ExtServers: [1.1.1.1]",
        "# Overrides: [nameservers search options]",
        "# Option ndots from: override",
    ]
    assert "search" not in files.host(files.override(HOST, [], ["."], [])).split("#")[3]


def test_upstreams_on_the_hosts_loopback_are_asked_from_the_host() -> None:
    local = files.parse("nameserver 127.0.0.53\nnameserver 10.0.0.53\n")
    assert [str(upstream) for upstream in files.upstreams(local)] == ["host(127.0.0.53)", "10.0.0.53"]
    assert not files.upstreams(files.override(local, ["127.0.0.53"], [], []))[0].host


def test_systemd_resolveds_stub_is_followed_to_the_list_behind_it(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    real.write_text("nameserver 192.0.2.1\n")
    assert files.host_resolver(stub, real).nameservers == ("192.0.2.1",)
    assert files.host_resolver(tmp_path / "none", real).nameservers == ()
