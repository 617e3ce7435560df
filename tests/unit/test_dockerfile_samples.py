"""Whole Dockerfiles of many kinds, and text that is none: nothing but `DockerfileError` ever comes out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

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


PARSED = json.loads((Path(__file__).parent / "dockerfiles/parsed.json").read_text())
"""What BuildKit 0.32's own parser makes of each sample: name, first and last line, and what is written there."""


def told(item: ast.Instruction | ast.Stage) -> list[Any]:
    """As in `PARSED`: what is empty or false is left out, a heredoc is its name and the start of its sha256."""
    if isinstance(item, ast.Stage):
        found: dict[str, Any] = {"base": item.base, "as": item.name, "platform": item.platform}
        return ["FROM", [item.lines.start, item.lines.end], {key: value for key, value in found.items() if value}]
    what = {key: value for key, value in _what(item).items() if value or key == "times"}
    return [item.name, [item.lines.start, item.lines.end], what]


def _what(item: ast.Instruction) -> dict[str, Any]:
    match item:
        case ast.CommandLine():
            found: dict[str, Any] = {"command": list(item.command), "shell": item.shell}
            if isinstance(item, ast.Run):
                found["files"] = [_heredoc(one.name, one.content) for one in item.heredocs]
                found["flags"] = list(item.flags_used)
            return found
        case ast.Env() | ast.Label():
            return {"pairs": [[pair.key, pair.value] for pair in item.pairs]}
        case ast.Arg():
            return {"args": [[one.key, one.value] for one in item.arguments]}
        case ast.Copy() | ast.Add():
            found = {"sources": list(item.sources), "dest": item.destination, "chown": item.chown, "chmod": item.chmod}
            found |= {"link": item.link, "exclude": list(item.exclude)}
            found["files"] = [_heredoc(one.path, one.data) for one in item.files]
            if isinstance(item, ast.Copy):
                return found | {"from": item.from_, "parents": item.parents}
            return found | {"checksum": item.checksum}
        case ast.Healthcheck():
            times = [item.interval, item.timeout, item.start_period, item.start_interval, item.retries]
            return {"test": list(item.test), "times": times}
        case ast.Expose():
            return {"ports": list(item.ports)}
        case ast.Volume():
            return {"volumes": list(item.volumes)}
        case ast.Shell():
            return {"words": list(item.shell)}
    key = {"STOPSIGNAL": "signal", "WORKDIR": "path", "ONBUILD": "expression"}.get(item.name, item.name.lower())
    return {key: getattr(item, key)}


def _heredoc(name: str, content: bytes) -> list[str]:
    return [name, hashlib.sha256(content).hexdigest()[:12]]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_real_world_dockerfiles(sample: Path) -> None:
    source = sample.read_bytes()
    parsed = parse(source, sample.name)
    items: list[ast.Instruction | ast.Stage] = [*parsed.global_arguments]
    for stage in parsed.stages:
        items += [stage, *stage.instructions]
    assert [told(item) for item in items] == PARSED[sample.stem]
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
