"""Stages as a graph: bases, sources, targets, and what cannot be."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from sampan.builds.dockerfile import DockerfileError, Lines, parse
from sampan.builds.dockerfile.ports import exposed_ports
from sampan.builds.dockerfile.stages import Graph, Source, context_for, resolve
from sampan.builds.dockerfile.variables import global_arguments
from sampan.images.model import Platform

AMD64 = Platform(os="linux", architecture="amd64")


def graph(text: str, target: str = "", given: Mapping[str, str] | None = None, contexts: Collection[str] = ()) -> Graph:
    parsed = parse(text.encode())
    return resolve(parsed, global_arguments(parsed, given or {}, AMD64, AMD64, target), target, contexts)


def mistake(text: str, target: str = "") -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        graph(text, target)
    return caught.value


def test_bases_are_references_scratch_or_earlier_stages() -> None:
    found = graph(
        "ARG V=3\nFROM --platform=linux/arm64 alpine:$V AS a\nFROM scratch\nFROM a\nFROM reg:5000/x@sha256:" + "0" * 64
    )
    first, second, third, fourth = found.stages
    assert (first.base, first.name, first.base_as_written) == ("docker.io/library/alpine:3", "a", "alpine:3")
    assert first.platform == Platform(os="linux", architecture="arm64")
    assert (second.base, second.name) == ("scratch", "stage-1")
    assert (third.base, third.base_stage) == ("", 0)
    assert fourth.base == "reg:5000/x@sha256:" + "0" * 64


def test_a_later_stage_of_the_same_name_takes_it_over_from_there_on() -> None:
    found = graph("FROM a AS x\nFROM x AS x\nFROM x\nCOPY --from=X / /")
    assert [stage.base_stage for stage in found.stages] == [None, 0, 1]
    assert found.needed() == [0, 1, 2]


def test_only_what_the_target_reaches_is_needed() -> None:
    text = (
        "FROM a AS base\nFROM base AS unused\nFROM b AS tools\nFROM c AS mounted\n"
        "FROM base AS app\nCOPY --from=2 /x /x\nRUN --mount=from=mounted,target=/m true\nCOPY --from=busybox /y /y\n"
        "FROM app"
    )
    assert graph(text).needed() == [0, 2, 3, 4, 5]
    assert graph(text, "TOOLS").needed() == [2]
    assert graph(text).sources(graph(text).stages[4].stage.instructions[2]) == [Source(image="busybox")]


def test_named_contexts_replace_stages() -> None:
    found = graph("FROM a AS base\nFROM base AS dep\nFROM scratch\nCOPY --from=dep / /", contexts=["dep"])
    assert found.stages[1].context == "dep"
    assert found.needed() == [1, 2]
    assert context_for("docker.io/library/alpine:latest", ["alpine"]) == "alpine"
    assert context_for("scratch", ["scratch"]) == ""


@pytest.mark.parametrize(
    ("text", "message", "lines"),
    [
        ("FROM $x", "base name ($x) should not be blank", [1]),
        (
            "FROM UPPER",
            'failed to parse stage name "UPPER": invalid reference format: repository name (library/UPPER) must be '
            "lowercase",
            [1],
        ),
        ("FROM a:", 'failed to parse stage name "a:": invalid reference format', [1]),
        (
            "FROM a\nCOPY --from=x: / /",
            'failed to parse stage name "x:": invalid reference format',
            [2],
        ),
        (
            "FROM --platform=$BULIDPLATFORM a",
            "empty platform value from expression $BULIDPLATFORM (did you mean BUILDPLATFORM?)",
            [1],
        ),
        (
            "FROM --platform=linux/$X a",
            'failed to parse platform linux/$X: "" is an invalid component of "linux/": platform specifier component '
            'must match "^[A-Za-z0-9_.-]+$": invalid argument',
            [1],
        ),
        (
            "ARG a\nFROM x\nCOPY --from=$a / /",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope "
            "as a workaround",
            [3],
        ),
        ("FROM a\nCOPY --from=7 / /", "invalid stage index 7", [2]),
        ("FROM a AS a\nCOPY --from=a / /", "circular dependency detected on stage: a", [2]),
        (
            "FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nRUN --mount=from=c,target=/m y\n"
            "FROM x AS c\nCOPY --from=a / /",
            "circular dependency detected on stage: a",
            [2, 4, 6],
        ),
        (
            "FROM x AS a\nCOPY --from=b / /\nFROM a AS b",
            'cannot copy from stage "b", it needs to be defined before current stage "a"',
            [2],
        ),
        (
            "FROM x AS a\nRUN --mount=from=b,dst=/m true\nFROM a AS b",
            'cannot mount from stage "b" to "/m", stage needs to be defined before current command',
            [2],
        ),
    ],
)
def test_graphs_that_cannot_be(text: str, message: str, lines: list[int]) -> None:
    found = mistake(text)
    assert found.message == message
    assert [place.start for place in found.lines] == lines


def test_an_unknown_target_is_told_with_the_nearest_name() -> None:
    found = mistake("FROM a AS builder\nFROM a", "bulider")
    assert (found.message, found.lines) == (
        'target stage "bulider" could not be found (did you mean builder?)',
        (),
    )
    assert mistake("FROM a", "0").message == 'target stage "0" could not be found'


def test_global_arguments_choose_bases() -> None:
    text = "ARG IMAGE=alpine\nFROM ${IMAGE}"
    assert graph(text).stages[0].base == "docker.io/library/alpine:latest"
    assert graph(text, given={"IMAGE": "busybox:1"}).stages[0].base == "docker.io/library/busybox:1"


@pytest.mark.parametrize(
    ("word", "ports"),
    [
        ("80", ["80/tcp"]),
        ("53/UDP", ["53/udp"]),
        ("8000-8002/sctp", ["8000/sctp", "8001/sctp", "8002/sctp"]),
        ("8080:80", ["80/tcp"]),
        ("127.0.0.1:8080:80/tcp", ["80/tcp"]),
        ("[::1]:1:2", ["2/tcp"]),
        ("1-3:5-7", ["5/tcp", "6/tcp", "7/tcp"]),
    ],
)
def test_exposed_ports(word: str, ports: list[str]) -> None:
    assert exposed_ports([word]) == ports


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("/tcp", 'invalid port: "/tcp": no port specified'),
        ("80/foo", 'invalid port: "80/foo": invalid proto: foo'),
        ("web", "invalid containerPort: web"),
        ("65536", "invalid containerPort: 65536"),
        ("9-8", "invalid containerPort: 9-8"),
        ("x:80", "invalid hostPort: x"),
        ("host:1:80", "invalid IP address: host"),
        ("1-2:3-9", "invalid ranges specified for container and host Ports: 3-9 and 1-2"),
    ],
)
def test_ports_that_are_none(word: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        exposed_ports([word])
    assert caught.value.message == message


def test_lines_of_a_base_that_cannot_be_are_those_of_from() -> None:
    assert mistake("FROM a\nFROM \\\n b:").lines == (Lines(2, 3),)
