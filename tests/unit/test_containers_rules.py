"""The pure rules of containers: names, signals, merging, validation, restarts, the state table."""

from __future__ import annotations

import random

import pytest

from sampan.containers.life import restarts, transitions
from sampan.containers.logs import log_drivers
from sampan.containers.model import (
    TRANSITIONS,
    Config,
    Container,
    EndpointSettings,
    HealthcheckConfig,
    HostConfig,
    LogConfig,
    NetworkingConfig,
    PortBinding,
    RestartPolicy,
    State,
    Status,
    Ulimit,
)
from sampan.containers.rules import merge, names, resources, signals, validation
from sampan.containers.rules.host import Host
from sampan.containers.spec import networking
from sampan.errors import InvalidParameter, NotSupported
from sampan.images.model import Healthcheck, RunConfig
from sampan.networks import Endpoint, PortRequest, PublishedPort, Sandbox


# -- names -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["web", "/web", "a1", "Web_1.x-y"])
def test_good_names(name: str) -> None:
    assert names.check(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["a", "-x", "a b", "a/b", "", "x" + "é", "ab\n", "//ab"])
def test_bad_names_are_refused_in_dockers_words(name: str) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        names.check(name)
    assert refusal.value.message == f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"


def test_generated_names_are_valid_and_free() -> None:
    choose = random.Random(1)
    first = names.generate(lambda name: False, "0" * 64, choose)
    assert names.check(first) == first and "_" in first
    assert names.generate(lambda name: not name[-1].isdigit(), "0" * 64, choose)[-1].isdigit()
    assert names.generate(lambda name: True, "0123456789abcdef") == "0123456789ab"


# -- signals ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("word", "number"),
    [("SIGTERM", 15), ("term", 15), ("15", 15), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("IOT", 6), ("STKFLT", 16)],
)
def test_signals_in_every_spelling(word: str, number: int) -> None:
    assert signals.parse(word) == number


@pytest.mark.parametrize("word", ["FOO", "0", "", "SIGSIGTERM", "RTMIN+99"])
def test_bad_signals(word: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid signal: "):
        signals.parse(word)


def test_a_signal_that_does_not_exist_cannot_be_sent() -> None:
    with pytest.raises(InvalidParameter, match="the linux daemon does not support signal 500"):
        signals.parse_deliverable("500")


# -- merging ---------------------------------------------------------------------------------------
IMAGE = RunConfig(
    user="app",
    env=["PATH=/bin", "A=image"],
    entrypoint=["/entry"],
    cmd=["default"],
    volumes={"/data": {}},
    exposed_ports={"80/tcp": {}},
    labels={"a": "image", "b": "image"},
    working_dir="/srv",
    stop_signal="SIGQUIT",
    healthcheck=Healthcheck(test=["CMD", "true"], interval=5, retries=2),
)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Config(), ["/entry", "default"]),
        (Config(cmd=["mine"]), ["/entry", "mine"]),
        (Config(entrypoint=["/mine"]), ["/mine"]),
        (Config(entrypoint=["/mine"], cmd=["x"]), ["/mine", "x"]),
        (Config(entrypoint=[], cmd=["x"]), ["x"]),
        (Config(entrypoint=[""], cmd=["x"]), ["x"]),
        (Config(entrypoint="/mine"), ["/mine"]),
    ],
)
def test_entrypoint_and_command(config: Config, words: list[str]) -> None:
    path, args = merge.command(merge.merge(config, IMAGE))
    assert [path, *args] == words


def test_no_command_at_all() -> None:
    with pytest.raises(InvalidParameter, match="no command specified"):
        merge.merge(Config(entrypoint=[""]), IMAGE)
    with pytest.raises(InvalidParameter, match="no command specified"):
        merge.merge(Config(), RunConfig())


def test_the_users_values_win_and_the_rest_is_the_images() -> None:
    config = Config(
        env=["A=mine", "B=mine"],
        labels={"a": "mine"},
        exposed_ports={"81/udp": {}},
        healthcheck=HealthcheckConfig(retries=7),
    )
    merged = merge.merge(config, IMAGE)
    assert merged.env == ["A=mine", "B=mine", "PATH=/bin"]
    assert merged.labels == {"a": "mine", "b": "image"}
    assert set(merged.exposed_ports or {}) == {"80/tcp", "81/udp"}
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("app", "/srv", "SIGQUIT")
    assert merged.healthcheck == HealthcheckConfig(test=["CMD", "true"], interval=5, retries=7)
    assert config.env == ["A=mine", "B=mine"], "the arguments stay as they were"
    assert IMAGE.labels == {"a": "image", "b": "image"}


# -- validation ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            HostConfig(auto_remove=True, restart_policy=RestartPolicy(name="always")),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="sometimes")),
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'",
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="always", maximum_retry_count=2)),
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (HostConfig(extra_hosts=["nohost"]), 'bad format for add-host: "nohost"'),
        (HostConfig(extra_hosts=["a:b"]), 'invalid IP address in add-host: "b"'),
        (HostConfig(port_bindings={"0/tcp": []}), 'invalid port specification: "0/tcp"'),
        (HostConfig(port_bindings={"80/icmp": []}), "invalid proto: icmp"),
        (
            HostConfig(port_bindings={"80/tcp": [PortBinding(host_port="99999")]}),
            'invalid port specification: "99999"',
        ),
        (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
        (HostConfig(oom_score_adj=2000), "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        (HostConfig(ipc_mode="foo"), "invalid IPC mode: foo"),
        (HostConfig(pid_mode="container:"), "invalid PID mode: container:"),
        (HostConfig(network_mode="container:"), "invalid network mode: invalid container format container:<name|id>"),
        (HostConfig(network_mode="container:a", dns=["1.1.1.1"]), "conflicting options: dns and the network mode"),
        (HostConfig(ulimits=[Ulimit(name="foo", soft=1, hard=1)]), "invalid ulimit type: foo"),
    ],
)
def test_host_configs_that_mean_nothing(host: HostConfig, message: str) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        validation.check_host_config(host, Config())
    assert refusal.value.message == message


def test_configs_that_mean_nothing() -> None:
    for config, message in (
        (Config(working_dir="x"), "the working directory 'x' is invalid, it needs to be an absolute path"),
        (Config(stop_signal="FOO"), "invalid signal: FOO"),
        (Config(env=["=x"]), "invalid environment variable: =x"),
        (Config(hostname="h" * 65), f'hostname "{"h" * 65}" is too long (maximum 64 bytes)'),
        (Config(healthcheck=HealthcheckConfig(interval=5)), "Interval in Healthcheck cannot be less than 1ms"),
    ):
        with pytest.raises(InvalidParameter) as refusal:
            validation.check_config(config)
        assert refusal.value.message == message


def test_limits_are_checked_and_what_the_host_lacks_is_dropped_with_a_warning() -> None:
    host = Host(cpu_count=2, cpus="0-1", mems="0")
    for limits, message in (
        (HostConfig(memory=4 << 20), "Minimum memory limit allowed is 6MB"),
        (HostConfig(memory=64 << 20, memory_swap=1), "Minimum memoryswap limit should be larger than memory limit"),
        (HostConfig(memory_swap=64 << 20), "You should always set the Memory limit when using Memoryswap limit"),
        (HostConfig(nano_cpus=-1), "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        (HostConfig(nano_cpus=3 * 10**9), "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        (HostConfig(nano_cpus=1, cpu_quota=1), "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        (HostConfig(cpuset_cpus="0-5"), "Requested CPUs are not available - requested 0-5, available: 0-1"),
        (HostConfig(cpuset_cpus="x"), "Invalid value x for cpuset cpus"),
        (HostConfig(blkio_weight=5), "Range of blkio weight is from 10 to 1000"),
    ):
        with pytest.raises(InvalidParameter) as refusal:
            resources.check(limits, host)
        assert message in refusal.value.message
    limited = HostConfig(memory=64 << 20, pids_limit=5)
    warnings = resources.check(limited, Host(swap=False, pids=False))
    assert (limited.memory_swap, limited.pids_limit) == (-1, None)
    assert len(warnings) == 2 and "swap limit" in warnings[0]


def test_log_drivers() -> None:
    assert log_drivers.check(None) == LogConfig(type="json-file", config={})
    assert not log_drivers.keeps(log_drivers.check(LogConfig(type="none")))
    with pytest.raises(NotSupported, match="no log driver named 'splunk' is registered: not supported"):
        log_drivers.check(LogConfig(type="splunk"))
    with pytest.raises(InvalidParameter, match='plugin "foo" not found'):
        log_drivers.check(LogConfig(type="foo"))
    with pytest.raises(InvalidParameter, match="unknown log opt 'max-sized' for json-file log driver"):
        log_drivers.check(LogConfig(type="json-file", config={"max-sized": "1m"}))
    assert log_drivers.rotation(LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"})) == (
        10_000_000,
        3,
    )


# -- restarts --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("policy", "code", "stopped", "restarts_so_far", "wanted"),
    [
        ("no", 1, False, 0, False),
        ("always", 0, True, 9, True),
        ("unless-stopped", 0, False, 9, True),
        ("unless-stopped", 0, True, 0, False),
        ("on-failure", 0, False, 0, False),
        ("on-failure", 1, False, 2, True),
        ("on-failure", 1, False, 3, False),
    ],
)
def test_restart_policies(policy: str, code: int, stopped: bool, restarts_so_far: int, wanted: bool) -> None:
    count = 3 if policy == "on-failure" else 0
    rule = RestartPolicy(name=policy, maximum_retry_count=count)
    assert restarts.wanted(rule, code, stopped, restarts_so_far) is wanted


def test_restarts_back_off_to_a_minute_and_are_forgiven() -> None:
    delay, seen = 0.0, []
    for _ in range(12):
        delay = restarts.next_delay(delay, ran=0.1)
        seen.append(delay)
    assert seen[:3] == [0.1, 0.2, 0.4] and seen[-1] == 60
    assert restarts.next_delay(60, ran=10) == 0.1


# -- states ----------------------------------------------------------------------------------------
def test_only_the_tables_changes_are_possible() -> None:
    for before in Status:
        for after in Status:
            state = State(status=before)
            if after in TRANSITIONS[before]:
                transitions.change(state, after)
                assert state.status is after
            else:
                with pytest.raises(RuntimeError):
                    transitions.change(state, after)


def test_a_run_forgets_the_failures_before_it() -> None:
    state = State(status=Status.EXITED, exit_code=137, error="no", oom_killed=True)
    transitions.running(state, 10, 11, 5)
    assert (state.exit_code, state.error, state.oom_killed, state.pid) == (0, "", False, 10)
    transitions.ended(state, Status.EXITED, 3, 9, oom_killed=True)
    assert (state.exit_code, state.oom_killed, state.pid, state.finished_at) == (3, True, 0, 9)


# -- networks --------------------------------------------------------------------------------------
def test_endpoints_come_and_go_and_what_was_asked_for_stays() -> None:
    given = NetworkingConfig(endpoints_config={"mine": EndpointSettings(), "other": EndpointSettings(aliases=["db"])})
    container = Container(id="c" * 64, name="web", config=Config(hostname="h"))
    container.networking = networking.wanted("mine", given, Config(mac_address="02:00:00:00:00:01"))
    assert list(container.networking) == ["mine", "other"]
    assert networking.requests(container)[1].dns_names == ["web", "db", "c" * 12, "h"]
    endpoint = Endpoint("mine", "n" * 64, "e" * 64, mac="02:00:00:00:00:09", ipv4="10.0.0.2", ipv4_prefix=24)
    networking.record(container, Sandbox(None, [endpoint], [PublishedPort(80, "tcp", "0.0.0.0", 8080)]))
    assert container.networking["mine"].ip_address == "10.0.0.2"
    assert container.ports == {"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")]}
    assert networking.sandbox(container).endpoints[0].ipv4 == "10.0.0.2"
    networking.clear(container)
    assert container.networking["mine"].ip_address == "" and container.ports == {}
    assert networking.requests(container)[0].mac == "02:00:00:00:00:01"


@pytest.mark.parametrize(
    ("mode", "given", "joined"),
    [
        ("bridge", [], ["bridge"]),
        ("bridge", ["mine"], ["mine"]),  # dockerd: not bridge beside it
        ("f00", ["mine"], ["mine"]),  # an id here, the name there
        ("mine", ["other", "mine"], ["mine", "other"]),
        ("container:" + "c" * 64, [], []),
    ],
)
def test_networks_a_container_joins(mode: str, given: list[str], joined: list[str]) -> None:
    request = NetworkingConfig(endpoints_config={name: EndpointSettings() for name in given})
    assert list(networking.wanted(mode, request, Config())) == joined


def test_port_requests_of_p_and_capital_p() -> None:
    container = Container(
        config=Config(exposed_ports={"80/tcp": {}, "53/udp": {}}),
        host_config=HostConfig(
            network_mode="bridge",
            publish_all_ports=True,
            port_bindings={"80/tcp": [PortBinding(host_ip="127.0.0.1", host_port="8000-8010")]},
        ),
    )
    assert networking.port_requests(container) == [
        PortRequest(53, "udp", "", ""),
        PortRequest(80, "tcp", "127.0.0.1", "8000-8010"),
    ]
    container.host_config.network_mode = "host"
    assert networking.port_requests(container) == []
