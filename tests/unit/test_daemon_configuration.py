"""Flags and daemon.json: what is taken, and what is refused in dockerd's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan import daemon
from sampan.configuration import ConfigurationError, combine, from_command_line, from_file

FILE = Path("/etc/x.json")


def settings(*flags: str, file: str = "") -> object:
    return combine(from_command_line(flags), from_file(FILE, file), FILE)


def test_flags_in_every_form() -> None:
    made = settings(
        "-H", "unix:///a", "--host=unix:///b", "-Hunix:///c", "-Dl", "warn", "--tls=false", "--data-root", "/d",
        "--label", "a=b", "--default-address-pool", "base=10.1.0.0/16,size=24", "--add-runtime", "r=/bin/r",
    )  # fmt: skip
    assert made.hosts == ("unix:///a", "unix:///b", "unix:///c")
    assert (made.debug, made.log_level, made.tls, made.data_root) == (True, "warn", False, Path("/d"))
    assert (made.labels, made.address_pools) == (("a=b",), (("10.1.0.0/16", 24),))
    assert made.runtimes == {"r": ("/bin/r",)}


def test_the_file_has_dockers_keys() -> None:
    made = settings(
        file='{"hosts":["unix:///a"],"debug":true,"registry-mirrors":["http://m"],"runtimes":{"r":{"path":"/r"}}}'
    )
    assert (made.hosts, made.debug, made.registry_mirrors) == (("unix:///a",), True, ("http://m",))
    assert made.runtimes == {"r": ("/r",)}


def test_log_options_from_flags_and_from_the_file() -> None:
    made = settings("--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=2")
    assert (made.log_driver, made.log_options) == ("local", {"max-size": "1m", "max-file": "2"})
    made = settings(file='{"log-driver":"json-file","log-opts":{"max-size":"10m"}}')
    assert (made.log_driver, made.log_options) == ("json-file", {"max-size": "10m"})


def test_the_pidfile_follows_the_exec_root() -> None:
    assert settings("--exec-root", "/e").pidfile == Path("/e/sampand.pid")


@pytest.mark.parametrize(
    ("flags", "file", "message"),
    [
        (["--x"], "", "unknown flag: --x"),
        (["-x"], "", "unknown shorthand flag: 'x' in -x"),
        (["--bip"], "", "flag needs an argument: --bip"),
        (["word"], "", '"sampand" accepts no argument(s).'),
        (
            ["--debug=maybe"],
            "",
            'invalid argument "maybe" for "-D, --debug" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (["--log-opt", "x"], "", "use key=value"),
        (
            [],
            '{"log-opts":{"max-file":3}}',
            "json: cannot unmarshal number into Go struct field Config.log-opts of type string",
        ),
        (["-l", "loud"], "", "invalid logging level: loud"),
        (["--dns", "x"], "", "invalid IP address: x"),
        (["-H", "ftp://x"], "", "invalid bind address (ftp://x)"),
        (["-H", "tcp://0.0.0.0:2375"], "", "refusing to listen on tcp://0.0.0.0:2375 without TLS"),
        (["-H", "tcp://:1", "--tlsverify"], "", "TLS needs --tlscert, --tlskey, --tlscacert"),
        ([], '{"foo":1,"bar":2}', "the following directives don't match any configuration option: bar, foo"),
        ([], '{"debug":"yes"}', "json: cannot unmarshal string into Go struct field Config.debug of type bool"),
        ([], '{"labels":["a=b",1]}', "json: cannot unmarshal number into Go struct field Config.labels of type string"),
        ([], "[1", "unexpected end of JSON input"),
        (
            ["--data-root", "/a", "-H", "unix:///y"],
            '{"data-root":"/b","hosts":["unix:///x"]}',
            "the following directives are specified both as a flag and in the configuration file: "
            "data-root: (from flag: /a, from file: /b), hosts: (from flag: [unix:///y], from file: [unix:///x])",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(flags: list[str], file: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        settings(*flags, file=file)
    assert message in str(raised.value)


def test_tcp_without_tls_needs_the_explicit_flag() -> None:
    assert settings("-H", "tcp://127.0.0.1:1", "--allow-insecure-tcp").hosts == ("tcp://127.0.0.1:1",)


def test_validate_says_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"debug": true}')
    assert daemon.main(["--validate", "--config-file", str(path)]) == 0
    assert "configuration OK" in capsys.readouterr().err
    path.write_text('{"nope": true}')
    assert daemon.main(["--validate", "--config-file", str(path)]) == 1
    assert "nope" in capsys.readouterr().err


def test_a_named_file_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert daemon.main(["--config-file", "/nonexistent/daemon.json"]) == 1
    assert "open /nonexistent/daemon.json: no such file or directory" in capsys.readouterr().err


def test_bad_flags_point_to_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert daemon.main(["--nope"]) == 1
    assert capsys.readouterr().err == "unknown flag: --nope\nSee 'sampand --help'.\n"


def test_a_default_runtime_that_is_not_there_is_refused() -> None:
    assert settings("--default-runtime", "r", "--add-runtime", "r=/bin/r").default_runtime == "r"
    with pytest.raises(ConfigurationError, match="specified default runtime 'nosuch' does not exist"):
        settings("--default-runtime", "nosuch")


def test_insecure_registries_are_hosts_or_networks() -> None:
    given = ("http://a.example:5000", "10.0.0.0/8", "b.example", "[::1]:5000", "::1/128")
    flags = [word for one in given for word in ("--insecure-registry", one)]
    assert settings(*flags).insecure_registries == ("a.example:5000", *given[1:])
    for wrong in ("http://a.example/", "a.example:x", "a/b"):
        with pytest.raises(ConfigurationError, match="is not valid: invalid host"):
            settings("--insecure-registry", wrong)
