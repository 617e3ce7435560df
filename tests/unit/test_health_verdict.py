"""When a container is starting, healthy, unhealthy."""

from __future__ import annotations

from sampan.containers.life.health import Check, check_of, delay, judge
from sampan.containers.model import Config, Container, Health, HealthcheckConfig, HealthLog

SECOND = 10**9
CHECK = Check(["true"], interval=10, timeout=1, start_period=5, start_interval=1, retries=2)


def probe(health: Health, code: int, at: float) -> bool:
    return judge(health, HealthLog(start=int(at * SECOND), exit_code=code), CHECK, 0)


def test_failures_in_the_start_period_do_not_count_until_a_success() -> None:
    health = Health()
    assert not probe(health, 1, 1)
    assert (health.status, health.failing_streak) == ("starting", 0)
    assert probe(health, 0, 2)
    assert not probe(health, 1, 3)
    assert (health.status, health.failing_streak) == ("healthy", 1)
    assert probe(health, 1, 4)
    assert health.status == "unhealthy"
    assert probe(health, 0, 5)
    assert (health.status, health.failing_streak) == ("healthy", 0)


def test_after_the_start_period_they_do() -> None:
    health = Health()
    assert not probe(health, -1, 6)
    assert probe(health, 2, 7)
    assert (health.status, health.failing_streak) == ("unhealthy", 2)


def test_the_last_five_probes_are_kept() -> None:
    health = Health()
    for number in range(8):
        probe(health, number, number)
    assert [entry.exit_code for entry in health.log] == [3, 4, 5, 6, 7]


def test_the_start_interval_ends_with_the_start_period_or_a_success() -> None:
    health = Health()
    assert delay(health, CHECK, 0, 4 * SECOND) == 1
    assert delay(health, CHECK, 0, 6 * SECOND) == 10
    health.status = "healthy"
    assert delay(health, CHECK, 0, 1 * SECOND) == 10


def test_the_command_and_the_defaults() -> None:
    def of(**words: object) -> Check | None:
        return check_of(Container(config=Config(healthcheck=HealthcheckConfig(**words), shell=["/bin/ash", "-c"])))  # type: ignore[arg-type]

    assert of(test=["NONE"]) is None
    assert of() is None
    assert check_of(Container()) is None
    shell = of(test=["CMD-SHELL", "exit 1"])
    assert shell is not None
    assert shell == Check(["/bin/ash", "-c", "exit 1"], 30, 30, 0, 5, 3)
    plain = of(test=["CMD", "a", "b"], interval=2 * SECOND, retries=1)
    assert plain is not None
    assert (plain.command, plain.interval, plain.retries) == (["a", "b"], 2, 1)
