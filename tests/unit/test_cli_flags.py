"""Command lines read as pflag reads them."""

from __future__ import annotations

import pytest

from sampan.cli.errors import UsageError
from sampan.cli.flags import Flag, Flags, HelpAsked, parse, usage_lines

FLAGS = (
    Flag("interactive", "bool", "Keep STDIN open", short="i"),
    Flag("tty", "bool", "Allocate a pseudo-TTY", short="t"),
    Flag("env", "list", "Set environment variables", short="e"),
    Flag("name", "string", "Assign a name"),
    Flag("sig-proxy", "bool", "Proxy signals", default=True, shown="true"),
    Flag("memory", "bytes", "Memory limit", short="m"),
    Flag("cpu-shares", "int", "CPU shares", short="c"),
    Flag("wait-for", "duration", "How long"),
    Flag("net", "list", "Second spelling", hidden=True, into="network"),
    Flag("network", "list", "Network"),
    Flag("time", "int", "Old", deprecated="use --timeout instead"),
)


def read(*words: str, interspersed: bool = True) -> Flags:
    return parse(FLAGS, words, interspersed=interspersed)


def test_a_cluster_ends_in_a_value() -> None:
    flags = read("-iteFOO=1", "image")
    assert flags.yes("interactive") and flags.yes("tty")
    assert flags.many("env") == ["FOO=1"]
    assert flags.args == ["image"]


@pytest.mark.parametrize("words", [["-e", "A=1"], ["-eA=1"], ["-e=A=1"], ["--env", "A=1"], ["--env=A=1"]])
def test_every_way_to_give_a_value(words: list[str]) -> None:
    assert read(*words).many("env") == ["A=1"]


def test_a_bool_takes_its_value_only_behind_an_equals_sign() -> None:
    flags = read("--sig-proxy=false", "-i=F", "--tty", "false")
    assert not flags.yes("sig-proxy") and not flags.yes("interactive") and flags.yes("tty")
    assert flags.args == ["false"]


def test_the_command_keeps_its_own_flags() -> None:
    flags = read("-i", "image", "ls", "-l", "--name", interspersed=False)
    assert flags.args == ["image", "ls", "-l", "--name"]
    assert not flags.changed("name")


def test_two_dashes_end_the_flags() -> None:
    assert read("-i", "--", "-t", "--", "x").args == ["-t", "--", "x"]


def test_a_lone_dash_is_an_argument() -> None:
    assert read("-", "-i").args == ["-"]


def test_flags_stand_between_arguments_unless_told_otherwise() -> None:
    flags = read("a", "-i", "b")
    assert flags.args == ["a", "b"] and flags.yes("interactive")


def test_the_last_of_a_single_value_counts_and_a_second_spelling_adds() -> None:
    flags = read("--name", "a", "--name=b", "--net", "x", "--network", "y")
    assert flags.text("name") == "b"
    assert flags.many("network") == ["x", "y"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["--nope=1"], "unknown flag: --nope"),
        (["-ixz"], "unknown shorthand flag: 'x' in -xz"),
        (["--name"], "flag needs an argument: --name"),
        (["-ite"], "flag needs an argument: 'e' in -e"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---x"], "bad flag syntax: ---x"),
        (
            ["--tty=maybe"],
            'invalid argument "maybe" for "-t, --tty" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        (["-m", "5x"], 'invalid argument "5x" for "-m, --memory" flag: invalid suffix: \'x\''),
        (
            ["-c", "1.5"],
            'invalid argument "1.5" for "-c, --cpu-shares" flag: strconv.ParseInt: parsing "1.5": invalid syntax',
        ),
        (["--wait-for", "5"], 'invalid argument "5" for "--wait-for" flag: time: missing unit in duration "5"'),
        (["--wait-for", "5y"], 'invalid argument "5y" for "--wait-for" flag: time: unknown unit "y" in duration "5y"'),
    ],
)
def test_bad_lines_are_refused_in_pflags_words(words: list[str], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert caught.value.message == problem
    assert caught.value.code == 125


@pytest.mark.parametrize(
    ("text", "nanoseconds"), [("1m30s", 90_000_000_000), ("1.5h", 5_400_000_000_000), ("-.5s", -500_000_000), ("0", 0)]
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert read("--wait-for", text).number("wait-for") == nanoseconds


@pytest.mark.parametrize(
    ("text", "size"), [("512m", 512 << 20), ("1.5g", 3 << 29), ("1 KiB", 1024), ("7", 7), ("1e3", 1000), ("2b", 2)]
)
def test_sizes(text: str, size: int) -> None:
    assert read("-m", text).number("memory") == size


def test_help_is_asked_for_after_the_line_is_read() -> None:
    with pytest.raises(HelpAsked):
        read("-i", "--help", "--name", "x")
    with pytest.raises(UsageError):
        read("--help", "--nope")


def test_a_deprecated_flag_works_and_warns() -> None:
    told: list[str] = []
    flags = parse(FLAGS, ["--time", "5"], warn=told.append)
    assert flags.number("time") == 5
    assert told == ["Flag --time has been deprecated, use --timeout instead"]


def test_help_aligns_and_wraps_as_pflag() -> None:
    flags = (
        Flag("all", "bool", "Show all containers (default shows just running)", short="a"),
        Flag("last", "int", "Show n last created containers (includes all states)", short="n", shown="-1"),
        Flag("hidden", "bool", "Never shown", hidden=True),
    )
    assert usage_lines(flags, 50) == (
        "  -a, --all        Show all containers\n"
        "                   (default shows just running)\n"
        "  -n, --last int   Show n last created\n"
        "                   containers (includes all\n"
        "                   states) (default -1)\n"
    )
