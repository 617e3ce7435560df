"""Whole Dockerfiles of many kinds, and text that is none: nothing but `DockerfileError` ever comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.builds.dockerfile import DockerfileError, ast, parse
from sampan.builds.dockerfile.checks import examine
from sampan.builds.dockerfile.commands import run_plan
from sampan.builds.dockerfile.stage_checks import BaseFacts
from sampan.builds.dockerfile.statements import KEYWORDS
from sampan.images.model import Platform

SAMPLES = sorted((Path(__file__).parent / "dockerfiles").glob("*.Dockerfile"))
AMD64 = Platform(os="linux", architecture="amd64")


def walk(source: bytes) -> Exception | None:
    """Everything this room can do with a file."""
    report = examine(
        source, given={}, target=AMD64, build=AMD64, facts=lambda stage: BaseFacts({"PATH": "/bin"}), all_stages=True
    )
    if report.graph is not None:
        report.graph.needed()
        for stage in report.graph.dockerfile.stages:
            for instruction in stage.instructions:
                if isinstance(instruction, ast.Run):
                    run_plan(instruction)
    return report.error


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_real_world_dockerfiles(sample: Path) -> None:
    source = sample.read_bytes()
    parsed = parse(source, sample.name)
    assert parsed.stages[-1].instructions or parsed.stages[-1].base
    assert sum(len(stage.instructions) + 1 for stage in parsed.stages) >= 2
    covered = {
        line
        for item in (*parsed.global_arguments, *parsed.stages, *(i for s in parsed.stages for i in s.instructions))
        for line in range(item.lines.start, item.lines.end + 1)
    }
    for number, line in enumerate(source.decode().splitlines(), 1):
        assert number in covered or not line.strip() or line.lstrip().startswith("#"), line
    error = walk(source)
    assert error is None or str(error).startswith("lint violation")


def test_there_are_enough_of_them_and_they_use_every_instruction() -> None:
    used = {
        instruction.name
        for sample in SAMPLES
        for stage in parse(sample.read_bytes()).stages
        for instruction in stage.instructions
    }
    assert len(SAMPLES) >= 40
    assert used | {"FROM"} == set(KEYWORDS)


_WORDS = st.sampled_from(
    [
        *KEYWORDS, "from", "\\", "\n", "\n", "\n", " ", " ", " ", "\t", "#", "# escape=`\n", "# check=skip=all\n", "`",
        '"', "'", "[", "]", '["a", "b"]', "<<EOF", "<<-'E'", "\nEOF\n", "EOF", "$", "${", "}", ":-", ":+", "#", "%%",
        "//", "=", "a=b", "--", "--from=", "--mount=", "type=cache", "target=/x", ",", "AS", "scratch", "alpine", "0",
        "80/tcp", "-", "--interval=1s", "CMD", "NONE", "\r\n", "\0", "\ufeff", "é", "\x85", "\u2028", "*", "?", "/./",
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_WORDS, max_size=60).map("".join))
def test_text_that_looks_like_a_dockerfile(text: str) -> None:
    walk(text.encode())
    walk(f"FROM scratch\n{text}".encode())


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_bytes(source: bytes) -> None:
    try:
        parse(source)
    except DockerfileError as error:
        assert error.message.encode()


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(SAMPLES), st.integers(0, 3000), st.integers(0, 40), st.binary(max_size=8))
def test_damaged_dockerfiles(sample: Path, start: int, length: int, put: bytes) -> None:
    source = sample.read_bytes()
    walk(source[:start] + put + source[start + length :])


@pytest.mark.parametrize(
    "source",
    [
        b"FROM a\nCMD " + b"[" * 30000,
        b"FROM a\n" + b"ONBUILD " * 8000 + b"RUN x",
        b"FROM a\nENV A=" + b"${a:-" * 8000,
        b"FROM a\nRUN " + b"<<a " * 8000,
        b"FROM a\n" + b"RUN x \\\n" * 50000,
        b"FROM a\nENV A=b\n" + b"ENV A=$A$A\n" * 60,
    ],
    ids=["brackets", "triggers", "substitutions", "heredocs", "continuations", "doubling"],
)
def test_files_made_to_hurt(source: bytes) -> None:
    walk(source)
