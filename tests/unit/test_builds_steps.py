"""What steps do to the configuration, their order in the stream, the cache, and its explanations."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sampan.builds import plan, progress, runconfig
from sampan.builds.cache import BuildCache, key_of
from sampan.builds.dockerfile import ast, parse
from sampan.builds.dockerfile.ports import exposed_ports
from sampan.builds.dockerfile.stages import Graph, resolve
from sampan.builds.dockerfile.variables import global_arguments
from sampan.builds.explaining import Explanation, Trace
from sampan.builds.model import State
from sampan.builds.progress import AnyEvent, Done, InOrder, Noted, Output
from sampan.builds.work import Step
from sampan.images import platforms
from sampan.images.building import SealedLayer
from sampan.images.model import RunConfig
from sampan.store import Database, Documents


def graph(text: str, target: str = "") -> Graph:
    dockerfile = parse(text.encode())
    host = platforms.host()
    return resolve(dockerfile, global_arguments(dockerfile, {}, host, host, target), target)


def applied(*lines: str) -> tuple[RunConfig, list[str]]:
    config, history = RunConfig(), []
    for step in graph("FROM scratch\n" + "\n".join(lines)).stages[0].stage.instructions:
        ports = exposed_ports(step.ports) if isinstance(step, ast.Expose) else []
        config, text = runconfig.apply(config, step, dict.fromkeys(ports))
        history.append(text)
    return config, history


def test_metadata_reads_in_the_history_as_dockerd_writes_it() -> None:
    config, history = applied(
        "ENV A=1 B=2", "LABEL l=1", "USER nobody", "EXPOSE 80 90/udp", "VOLUME /v", "CMD echo x", 'ENTRYPOINT ["sh"]',
        "STOPSIGNAL SIGINT", "HEALTHCHECK --interval=5s CMD true", 'SHELL ["/bin/sh","-ec"]', "ONBUILD RUN echo y",
        "MAINTAINER me",
    )  # fmt: skip
    assert history == [
        "/bin/sh -c #(nop)  ENV A=1 B=2",
        "/bin/sh -c #(nop)  LABEL l=1",
        "/bin/sh -c #(nop)  USER nobody",
        "/bin/sh -c #(nop)  EXPOSE 80 90/udp",
        "/bin/sh -c #(nop)  VOLUME [/v]",
        '/bin/sh -c #(nop)  CMD ["/bin/sh" "-c" "echo x"]',
        '/bin/sh -c #(nop)  ENTRYPOINT ["sh"]',
        "/bin/sh -c #(nop)  STOPSIGNAL SIGINT",
        '/bin/sh -c #(nop)  HEALTHCHECK &{["CMD-SHELL" "true"] "5s" "0s" "0s" "0s" \'\\x00\'}',
        "/bin/sh -ec #(nop)  SHELL [/bin/sh -ec]",
        "/bin/sh -ec #(nop)  ONBUILD RUN echo y",
        "/bin/sh -ec #(nop)  MAINTAINER me",
    ]
    assert config.exposed_ports == {"80/tcp": {}, "90/udp": {}}
    assert config.env == ["A=1", "B=2"]
    assert config.on_build == ["RUN echo y"]


def test_env_replaces_in_place() -> None:
    assert applied("ENV A=1 B=2", "ENV A=3 C=4")[0].env == ["A=3", "B=2", "C=4"]


def test_build_arguments_come_first_in_a_runs_history() -> None:
    assert runconfig.run_history(["/bin/sh", "-c", "make"], [("Z", "5"), ("Y", "2")]) == "|2 Y=2 Z=5 /bin/sh -c make"


@pytest.mark.parametrize(
    ("current", "wanted", "found"),
    [("", "x", "/x"), ("/a", "b", "/a/b"), ("/a", "/b", "/b"), ("/a", "../c", "/c"), ("/a", "b/", "/a/b")],
)
def test_relative_working_directories(current: str, wanted: str, found: str) -> None:
    assert runconfig.working_directory(current, wanted) == found


def test_only_needed_stages_are_planned() -> None:
    made = plan.make(graph("FROM a AS x\nRUN 1\nFROM b AS unused\nRUN 2\nFROM c\nCOPY --from=x / /\n"), {"l": "v"})
    texts = [step.text for step in made.steps.values()]
    assert texts == ["FROM a AS x", "RUN 1", "FROM c", "COPY --from=x / /", "LABEL l=v"]
    assert [step.step for step in made.steps.values()] == [0, 1, 2, 3, 4]
    assert made.steps[2, 0].name == "[stage-2 2/2] COPY --from=x / /"


def test_events_come_one_step_after_the_other() -> None:
    seen: list[AnyEvent] = []
    ordered = InOrder(seen.append)
    for event in (
        Noted(step=1, text="b"), Done(step=1, id="1"), Noted(step=0, text="a"), Noted(step=2, text="c"),
        Done(step=0, id="0"), Done(step=2, id="2"),
    ):  # fmt: skip
        ordered(event)
    assert [(event.step, type(event)) for event in seen] == [
        (0, Noted), (0, Done), (1, Noted), (1, Done), (2, Noted), (2, Done),
    ]  # fmt: skip


# -- the cache ---------------------------------------------------------------------------------------
LAYER = SealedLayer("sha256:b", "sha256:d", "t", "sha256:c", 7)


def test_records_outlive_the_database_and_keep_their_layers(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    cache = BuildCache(Database(path))
    cache.add("k", "p", "RUN x", LAYER, "below", "now")
    again = BuildCache(Database(path))
    record = again.find("k", "below")
    assert record is not None
    assert record.sealed == LAYER
    assert list(again.kept()) == ["sha256:b", "sha256:c"]


def test_a_layer_is_only_found_on_the_chain_it_was_made_on(tmp_path: Path) -> None:
    cache = BuildCache(Database(tmp_path / "state.db"))
    cache.add("k", "p", "RUN x", LAYER, "below", "now")
    assert cache.find("k", "another") is None
    cache.holds = lambda record: False
    assert cache.find("k", "below") is None


def test_a_record_in_use_is_not_pruned(tmp_path: Path) -> None:
    cache = BuildCache(Database(tmp_path / "state.db"))
    cache.add("k", "p", "RUN x", LAYER, "below", "now")

    async def prune_meanwhile() -> None:
        async with cache.alone("k"):
            assert cache.remove(cache.all()) == []
        assert [record.key for record in cache.remove(cache.all())] == ["k"]

    asyncio.run(prune_meanwhile())
    assert BuildCache(cache.database).all() == []


def test_keys_differ_by_every_input() -> None:
    keys = {key_of("p", "RUN", "x"), key_of("q", "RUN", "x"), key_of("p", "RUN", "y"), key_of("p", "RUN", "x", None)}
    assert len(keys) == 4


# -- explaining ----------------------------------------------------------------------------------------
@pytest.fixture
def explain(tmp_path: Path):  # type: ignore[no-untyped-def]
    database = Database(tmp_path / "state.db")
    cache, traces = BuildCache(database), Documents(database, "build-trace", Trace)

    def build(*steps: tuple[str, str, str, dict[str, str]], base: str = "sha256:base") -> list[str]:
        """Steps are (text, key, parent's key, inputs); the reasons of all, as if all had been missed."""
        explanation = Explanation(traces, "x:latest", cache)
        explanation.base(0, "busybox", base)
        reasons = []
        for position, (text, key, parent, inputs) in enumerate(steps):
            step = Step(position + 1, position + 2, inputs=dict(inputs))
            state = State(key=parent)
            reasons.append(explanation.reason(0, position, text, state, step)(key))
            explanation.done(0, position, text, state, State(key=key), step)
        explanation.save()
        return reasons

    return build


def test_a_first_build_has_nothing_to_compare(explain) -> None:  # type: ignore[no-untyped-def]
    assert explain(("RUN a", "1", "0", {})) == ["no earlier build of x:latest is known"]


def test_the_file_the_argument_and_the_instruction_are_named(explain) -> None:  # type: ignore[no-untyped-def]
    explain(("COPY . .", "1", "0", {"a": "1", "b": "2"}), ("RUN $V", "2", "1", {"ARG V": "1"}), ("RUN x", "3", "2", {}))
    reasons = explain(
        ("COPY . .", "1b", "0", {"a": "9", "c": "3"}), ("RUN $V", "2b", "1b", {"ARG V": "2"}), ("RUN y", "3b", "2b", {})
    )
    assert reasons == [
        "a changed, b is gone, c is new",
        "line 2 was not cached: COPY . .; build arg V changed: it was '1', and is '2'",
        "the instruction changed: it was RUN x",
    ]


def test_the_base_and_the_step_above_are_named(explain) -> None:  # type: ignore[no-untyped-def]
    explain(("RUN a", "1", "0", {}), ("RUN b", "2", "1", {}))
    reasons = explain(("RUN a", "1b", "0b", {}), ("RUN b", "2b", "1b", {}), base="sha256:other")
    assert reasons == [
        "the base busybox changed: it was base, and is other",
        "line 2 was not cached: RUN a",
    ]


def test_a_pruned_record_is_told(explain) -> None:  # type: ignore[no-untyped-def]
    explain(("RUN a", "1", "0", {}))
    assert explain(("RUN a", "1", "0", {})) == ["its result was pruned from the cache"]


def test_the_first_cause_is_named_for_what_follows_it(explain) -> None:  # type: ignore[no-untyped-def]
    """And a base that changed for instructions that only moved."""
    explain(("RUN a", "1", "0", {}), ("RUN b", "2", "1", {"ARG V": "1"}))
    reasons = explain(("RUN b", "2b", "0b", {"ARG V": "1"}), base="sha256:other")
    assert reasons == ["the base busybox changed: it was base, and is other"]


def test_steps_that_a_shorter_dockerfile_no_longer_has_are_forgotten(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    cache, traces = BuildCache(database), Documents(database, "build-trace", Trace)

    def build(*texts: str, whole: bool) -> list[str]:
        explanation = Explanation(traces, "x:latest", cache)
        explanation.base(0, "busybox", "sha256:base")
        reasons = []
        for position, text in enumerate(texts):
            step = Step(position + 1, position + 2)
            reasons.append(explanation.reason(0, position, text, State(key="k"), step)(f"{text}'"))
            explanation.done(0, position, text, State(key="k"), State(key=text), step)
        explanation.save(whole)
        return reasons

    build("RUN a", "RUN b", whole=True)
    build("RUN a", whole=False)  # it failed there
    assert build("RUN a", "RUN c", whole=True)[1] == "the instruction changed: it was RUN b"
    build("RUN a", whole=True)
    assert build("RUN a", "RUN c", whole=True)[1] == "the instruction is new"


async def test_a_step_that_an_earlier_one_waits_for_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base image's ONBUILD COPY --from may name a stage further down."""
    monkeypatch.setattr(progress, "_PATIENCE", 0.01)
    ordered = InOrder(lambda event: None)
    ordered(Output(step=3, stream=1, data=bytes(9 << 20)))
    waiting = ordered.drain(3)
    assert waiting is not None
    await asyncio.wait_for(asyncio.ensure_future(waiting), 5)
