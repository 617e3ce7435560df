"""Flags and daemon.json: what is taken, and what is refused in dockerd's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan import configuration, daemon
from sampan.configuration import ConfigurationError, combine, from_command_line, from_file, reloaded

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
        ([], '{"fixed-cidr":"10.0.0.0/25"}', "fixed-cidr needs bip"),
        (
            [],
            '{"bip6":"fd00::1/64","fixed-cidr-v6":"fd01::/80"}',
            "fixed-cidr-v6 fd01::/80 is no range of bip6's network",
        ),
        ([], '{"bip":"10.0.0.1"}', "invalid CIDR address: 10.0.0.1"),
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


DOCKERS = """{
  "storage-driver": "overlay2", "live-restore": true, "iptables": true, "ip6tables": true, "userland-proxy": false,
  "exec-opts": ["native.cgroupdriver=cgroupfs"], "experimental": false, "selinux-enabled": false, "raw-logs": true,
  "features": {"buildkit": true, "containerd-snapshotter": false}, "log-driver": "json-file",
  "log-opts": {"max-size": "10m", "max-file": "3"}, "default-shm-size": "128M", "no-new-privileges": true,
  "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 32000}, "core": {"hard": 0}},
  "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1400"}}, "init": true, "icc": false,
  "ip": "127.0.0.1", "mtu": 1400, "bip": "10.9.0.1/24", "fixed-cidr": "10.9.0.128/25", "host-gateway-ip": "10.0.0.1",
  "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}], "dns": ["10.0.0.2"], "seccomp-profile": "builtin",
  "max-concurrent-downloads": 10, "max-concurrent-uploads": 2, "max-download-attempts": 1, "metrics-addr": "[::1]:9323",
  "proxies": {"http-proxy": "http://p:1", "no-proxy": "localhost"}, "builder": {"gc": {"defaultKeepStorage": "20GB"}},
  "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}, "x": {"path": "/x", "runtimeArgs": ["-v"]}},
  "default-ipc-mode": "shareable", "default-cgroupns-mode": "private", "log-format": "json", "storage-opts": []
}"""


def test_a_daemon_json_of_dockerd_is_taken_over() -> None:
    made = settings(file=DOCKERS)
    assert (made.default_shm_size, made.no_new_privileges, made.init, made.icc) == (128 << 20, True, True, False)
    assert made.default_ulimits == {"nofile": (32000, 64000), "core": (0, 0)}
    assert (made.ip, made.mtu, made.fixed_cidr, made.host_gateway_ip) == (
        "127.0.0.1",
        1400,
        "10.9.0.128/25",
        "10.0.0.1",
    )
    assert made.default_network_options == {"bridge": {"com.docker.network.driver.mtu": "1400"}}
    assert (made.http_proxy, made.https_proxy, made.no_proxy) == ("http://p:1", "", "localhost")
    assert made.builder_gc == (True, 20_000_000_000)
    assert made.runtimes == {"nvidia": ("nvidia-container-runtime",), "x": ("/x", "-v")}
    assert (made.max_concurrent_downloads, made.max_concurrent_uploads, made.max_download_attempts) == (10, 2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"live-restore":false}', "live-restore: false is not supported: containers always outlive the daemon"),
        ('{"storage-driver":"zfs"}', "storage-driver: zfs is not supported: layers are mounted by overlayfs"),
        ('{"iptables":false}', "iptables: false is not supported: Sampan's rules are in a table of its own"),
        ('{"userns-remap":"default"}', "userns-remap: default is not supported"),
        ('{"exec-opts":["native.cgroupdriver=systemd"]}', "exec-opts: [native.cgroupdriver=systemd] is not supported"),
        ('{"authorization-plugins":["a"]}', "authorization-plugins: [a] is not supported"),
        ('{"containerd":"/run/x.sock"}', "containerd: /run/x.sock is not supported: there is no containerd"),
        ('{"features":{"containerd-snapshotter":true}}', "features: map[containerd-snapshotter:true] is not supported"),
        ('{"runtimes":{"s":{"runtimeType":"io.containerd.runsc.v1"}}}', "runtimes: s: a runtime needs a path"),
        ('{"builder":{"gc":{"policy":[{}]}}}', "builder.gc.policy is not supported"),
    ],
)
def test_what_sampan_does_not_do_is_refused_with_the_key_to_delete(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        settings(file=text)
    assert str(raised.value).startswith(f"unable to configure the Docker daemon with file /etc/x.json: {message}")


def test_dockerd_s_flags_are_known_too() -> None:
    made = settings(
        *("--storage-driver", "overlay2", "--live-restore", "--iptables=true", "--default-ulimit", "nofile=10:20"),
        *("--default-network-opt", "bridge=a.b=c", "--default-shm-size=1g", "--http-proxy", "http://p"),
    )
    assert (made.default_ulimits, made.default_shm_size) == ({"nofile": (10, 20)}, 1 << 30)
    assert (made.default_network_options, made.http_proxy) == ({"bridge": {"a.b": "c"}}, "http://p")
    with pytest.raises(ConfigurationError, match="^--selinux-enabled: true is not supported"):
        settings("--selinux-enabled")


def test_every_key_of_dockerd_has_a_row_in_the_documentation() -> None:
    table = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    missing = [option.key for option in configuration.OPTIONS if option.key and f"`{option.key}`" not in table]
    assert missing == []


def test_a_reload_changes_what_dockerd_reloads_and_resets_what_it_resets() -> None:
    current = combine({}, {"label": ["a=b"], "max-concurrent-downloads": 7}, FILE)

    def changes(text: str) -> dict[str, object]:
        return reloaded({}, from_file(FILE, text), FILE, current)

    transfers = {"max_concurrent_downloads": 3, "max_concurrent_uploads": 5, "max_download_attempts": 5}
    assert changes("{}") == transfers | {"features": {}}
    found = changes('{"labels":["a=c"],"debug":true,"log-driver":"local","default-shm-size":"1m"}')
    assert (found["labels"], found["debug"], found["default_shm_size"]) == (("a=c",), True, 1 << 20)
    assert "log_driver" not in found
    with pytest.raises(ConfigurationError, match="specified default runtime 'x' does not exist"):
        changes('{"default-runtime":"x"}')


def test_proxies_are_shown_without_their_passwords() -> None:
    assert configuration.without_credentials("http://u:p@h:1/x@y") == "http://xxxxx:xxxxx@h:1/x@y"
    assert configuration.without_credentials("http://h:1") == "http://h:1"
    with pytest.raises(ConfigurationError, match="http-proxy: .from flag: http://xxxxx:xxxxx@a, from file: http://b.$"):
        settings("--http-proxy", "http://u:p@a", file='{"proxies":{"http-proxy":"http://b"}}')
