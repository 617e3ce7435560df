"""Columns, sizes, lengths of time, ports, references and progress bars as docker writes them."""

from __future__ import annotations

import io
from typing import Any

import pytest

from sampan.cli.container.ports import displayed
from sampan.cli.errors import CliError
from sampan.cli.filters import encode, filter_flag, with_configured
from sampan.cli.flags import parse as parse_flags
from sampan.cli.format import columns, natural_key, render, short_id
from sampan.cli.network.create import ipam_config
from sampan.cli.progress import bar, show
from sampan.cli.references import parse
from sampan.cli.row import Row
from sampan.cli.tabs import align, ellipsis
from sampan.cli.timestamps import timestamp
from sampan.cli.units import bytes_size, human_size
from sampan.golang import duration_text, human_duration

SECOND = 1_000_000_000


def test_columns_are_as_wide_as_their_longest_cell_and_at_least_ten() -> None:
    assert align("A\tB\tC\n" + "x" * 9 + "\ty\tz\n") == "A           B         C\n" + "x" * 9 + "   y         z\n"


def test_a_line_without_tabs_ends_a_column() -> None:
    assert align("aaaaaaaaaaaaaaa\tb\nplain\nc\td\n") == "aaaaaaaaaaaaaaa   b\nplain\nc         d\n"


def test_the_last_cell_is_neither_padded_nor_counted() -> None:
    assert align("a\t" + "long" * 9 + "\nb\t\n", least=4, padding=1) == "a   " + "long" * 9 + "\nb   \n"


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [("sleep 1000", 20, "sleep 1000"), ("sh -c 'echo hello world'", 20, "sh -c 'echo hello w…"), ("héllo wörld", 8, "héllo w…"),  # noqa: E501
     ("日本語テキスト", 7, "日本語…"), ("ab", 1, "a"), ("ab", 0, ""), ("日本", 4, "日本")],
)  # fmt: skip
def test_ellipsis_counts_columns(text: str, width: int, cut: str) -> None:
    assert ellipsis(text, width) == cut


@pytest.mark.parametrize(
    ("size", "precision", "shown"),
    [(0, 4, "0B"), (57, 3, "57B"), (999, 3, "999B"), (1000, 3, "1kB"), (1984000, 3, "1.98MB"), (1984000, 4, "1.984MB"),
     (120_170_000, 3, "120MB"), (1_500_000_000, 3, "1.5GB"), (3345, 4, "3.345kB"), (999_999, 3, "1e+03kB")],
)  # fmt: skip
def test_sizes_in_powers_of_a_thousand(size: int, precision: int, shown: str) -> None:
    assert human_size(size, precision) == shown


def test_sizes_in_powers_of_1024() -> None:
    assert [bytes_size(size) for size in (0, 1023, 1024, 452 * 1024, 25_276_000_000)] == [
        "0B", "1023B", "1KiB", "452KiB", "23.54GiB",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (119, "About a minute"),
     (120, "2 minutes"), (3599, "59 minutes"), (3600, "About an hour"), (5400, "2 hours"), (47 * 3600, "47 hours"),
     (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"), (60 * 86400, "2 months"),
     (729 * 86400, "24 months"), (730 * 86400, "2 years"), (56 * 365 * 86400, "56 years")],
)  # fmt: skip
def test_lengths_of_time_in_one_unit(seconds: float, shown: str) -> None:
    assert human_duration(int(seconds * SECOND)) == shown


def test_go_durations() -> None:
    given = (0, 1, 1500, 1_500_000, SECOND, 90 * SECOND, 3600 * SECOND, 3661 * SECOND + 500_000_000, -5 * SECOND)
    assert [duration_text(value) for value in given] == [
        "0s", "1ns", "1.5µs", "1.5ms", "1s", "1m30s", "1h0m0s", "1h1m1.5s", "-5s",
    ]  # fmt: skip


def port(inside: int, outside: int = 0, host: str = "", kind: str = "tcp") -> dict[str, Any]:
    return {"PrivatePort": inside, "Type": kind} | ({"IP": host, "PublicPort": outside} if host else {})


@pytest.mark.parametrize(
    ("ports", "shown"),
    [
        ([], ""),
        ([port(443), port(80)], "80/tcp, 443/tcp"),
        ([port(5003), port(5001), port(5002), port(5000)], "5000-5003/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(n, n, "0.0.0.0", "udp") for n in (9000, 9001, 9002)], "0.0.0.0:9000-9002->9000-9002/udp"),
        ([port(80, 81, "127.0.0.1"), port(53, kind="udp"), port(22, 22, "0.0.0.0")],
         "0.0.0.0:22->22/tcp, 53/udp, 127.0.0.1:81->80/tcp"),
        ([port(1), port(2), port(4)], "1-2/tcp, 4/tcp"),
    ],
)  # fmt: skip
def test_ports_are_sorted_and_ranges_drawn_together(ports: list[dict[str, Any]], shown: str) -> None:
    assert displayed(ports) == shown


class Thing(Row):
    go_type = "x.thing"

    def __init__(self, name: str) -> None:
        self.name = name

    def Name(self) -> str:
        return self.name

    def Size(self) -> str:
        return str(len(self.name))


@pytest.mark.parametrize(
    ("format", "shown"),
    [
        (columns("Name Size"), "NAME      SIZE\na         1\nbb        2\n"),
        ("table {{upper .Name}}\\t{{.Size}}", "NAME      SIZE\nA         1\nBB        2\n"),
        ("table", "\n\n\n"),
        ("json", '{"Name":"a","Size":"1"}\n{"Name":"bb","Size":"2"}\n'),
        ("{{.Name}}", "a\nbb\n"),
        (" {{.Name}}\\n{{.Size}} ", "a\n1\nbb\n2\n"),
        ("x", "x\nx\n"),
    ],
)
def test_formats(format: str, shown: str) -> None:
    assert render(format, [Thing("a"), Thing("bb")], {"Name": "NAME", "Size": "SIZE"}) == shown


def test_an_empty_table_still_has_its_header() -> None:
    assert render(columns("Name Size"), [], {"Name": "NAME", "Size": "SIZE"}) == "NAME      SIZE\n"


def test_a_bad_format_is_an_error_in_dockers_words() -> None:
    with pytest.raises(CliError) as raised:
        render("{{.Nope}}", [Thing("a")], {"Name": "NAME"})
    assert raised.value.message == (
        'template parsing error: template: :1:2: executing "" at <.Nope>: can\'t evaluate field Nope in type *x.thing'
    )


def test_short_ids_and_natural_order() -> None:
    assert short_id("sha256:0123456789abcdef") == "0123456789ab"
    assert sorted(["net10", "net2", "a", "net"], key=natural_key) == ["a", "net", "net2", "net10"]


def test_filters_on_the_command_line_and_in_the_query() -> None:
    flags = parse_flags((filter_flag(),), ["-f", " Label =a=b", "--filter", "status=exited", "-f", "label=c"])
    assert encode(flags.many("filter")) == '{"label":{"a=b":true,"c":true},"status":{"exited":true}}'
    assert encode([]) is None
    configured = with_configured([("label", "a")], ["label!=a", "until=1h", "nonsense"])
    assert configured == [("label", "a"), ("until", "1h")]


@pytest.mark.parametrize(
    ("text", "familiar", "whole"),
    [
        ("busybox", "busybox", "docker.io/library/busybox"),
        ("docker.io/library/busybox:1", "busybox:1", "docker.io/library/busybox:1"),
        ("index.docker.io/a/b", "a/b", "docker.io/a/b"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("127.0.0.1:5000/x/y:z", "127.0.0.1:5000/x/y:z", "127.0.0.1:5000/x/y:z"),
        (f"a@sha256:{'0' * 64}", f"a@sha256:{'0' * 64}", f"docker.io/library/a@sha256:{'0' * 64}"),
        ("a.b/c__d-e.f", "a.b/c__d-e.f", "a.b/c__d-e.f"),
    ],
)
def test_references_in_full_and_as_people_write_them(text: str, familiar: str, whole: str) -> None:
    reference = parse(text)
    assert (reference.familiar, str(reference)) == (familiar, whole)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BAD", "invalid reference format: repository name (library/BAD) must be lowercase"),
        ("a//b", "invalid reference format"),
        ("a:b c", "invalid reference format"),
        ("a@sha256:00", "invalid reference format"),
        ("", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("0" * 64, f"invalid repository name ({'0' * 64}), cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_bad_references(text: str, message: str) -> None:
    with pytest.raises(CliError) as raised:
        parse(text)
    assert raised.value.message == message


def test_timestamps_are_durations_back_dates_or_unix_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timestamp("10m", now=1_000_000.5) == "999400"
    assert timestamp("1700000000.5") == "1700000000.5"
    assert timestamp("2026-01-02T03:04:05Z") == "1767323045.000000000"
    assert timestamp("2026-01-02T03:04:05.6+01:00") == "1767319445.600000000"
    assert timestamp("2026-01-02T03Z") == "1767322800.000000000"
    assert timestamp("") == ""
    for bad, message in (
        ("x", 'failed to parse value as time or duration: "x"'),
        ("2026-13-01", 'parsing time "2026-13-01": month out of range'),
    ):
        with pytest.raises(CliError) as raised:
            timestamp(bad)
        assert raised.value.message == message


def test_ipam_gives_each_gateway_to_its_subnet() -> None:
    given = ipam_config(["10.0.0.0/24", "fd00::/64"], ["10.0.0.128/25"], ["fd00::1", "10.0.0.1"], {"r": "10.0.0.9"})
    assert given == [
        {"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.128/25", "Gateway": "10.0.0.1", "AuxiliaryAddresses": {"r": "10.0.0.9"}},  # noqa: E501
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]  # fmt: skip
    for subnets, gateways, message in (
        ([], ["10.0.0.1"], "every ip-range or gateway must have a corresponding subnet"),
        (["10.0.0.0/24"], ["10.1.0.1"], "no matching subnet for gateway 10.1.0.1"),
        (["10.0.0.0/24", "10.0.0.0/16"], [], "multiple overlapping subnet configuration is not supported"),
        (["x"], ["1.1.1.1"], "invalid subnet: invalid CIDR address: x"),
    ):
        with pytest.raises(CliError) as raised:
            ipam_config(subnets, [], gateways, {})
        assert raised.value.message == message


def test_progress_bars() -> None:
    half = {"current": 50_000, "total": 100_000}
    assert bar(half, 200, 0) == "[" + "=" * 25 + ">" + " " * 25 + "]     50kB/100kB"
    assert bar(half, 80, 0) == "    50kB/100kB"
    assert bar({"current": 3, "units": "s"}, 200, 0) == "3 s"
    assert bar({}, 200, 0) == ""
    assert bar({"current": 10, "total": 100, "start": 1000, "hidecounts": True}, 60, 1010) == " 1m30s"


def test_without_a_terminal_only_changes_of_state_are_told() -> None:
    out = io.StringIO()
    messages: list[dict[str, Any]] = [
        {"status": "Pulling from library/x", "id": "latest"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "a"},
        {"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "a"},
        {"aux": {"ID": "sha256:1"}},
        {"status": "Pull complete", "progressDetail": {}, "id": "a"},
        {"stream": "no newline"},
    ]
    seen: list[object] = []
    show(messages, out, seen.append)
    assert out.getvalue() == ("latest: Pulling from library/x\na: Pulling fs layer\na: Pull complete\nno newline")
    assert seen == [{"ID": "sha256:1"}]


def test_an_error_among_the_messages_is_raised() -> None:
    with pytest.raises(CliError, match="boom"):
        show([{"errorDetail": {"message": "boom"}, "error": "boom"}], None)
