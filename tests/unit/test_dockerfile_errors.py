"""Mistakes in Dockerfiles: BuildKit's words, the lines, the drawing."""

from __future__ import annotations

import pytest

from sampan.builds.dockerfile import DockerfileError, Lines, parse
from sampan.builds.dockerfile.excerpt import excerpt, excerpts
from sampan.builds.dockerfile.mounts import parse_device, parse_mount
from sampan.builds.dockerfile.parser import parse_trigger


def mistake(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(text.encode())
    return caught.value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FRM x", "unknown instruction: FRM (did you mean FROM?)"),
        ("rum x", "unknown instruction: rum (did you mean run?)"),
        ("NONSENSE", "unknown instruction: NONSENSE"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a OF b", "FROM requires either one or three arguments"),
        (
            "FROM a AS 1b",
            'invalid name for build stage: "1b", name can\'t start with a number or contain symbols',
        ),
        ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        ("COPY --from=x --from=y a b", "duplicate flag specified: --from"),
        ("COPY --from a b", "missing a value on flag: --from"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY a <<EOF\nEOF", "COPY cannot accept a heredoc as a destination"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =x", "ENV names can not be blank"),
        ("ARG =x", "ARG names can not be blank"),
        ("LABEL --x=y a=b", "unknown flag: --x"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ('VOLUME [" "]', "VOLUME specified can not be an empty string"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK curl x", 'Unknown type "CURL" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=10 CMD x", 'time: missing unit in duration "10"'),
        ("HEALTHCHECK --interval=1x CMD x", 'time: unknown unit "x" in duration "1x"'),
        ("HEALTHCHECK --timeout=1us CMD x", 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=a CMD x", 'strconv.ParseInt: parsing "a": invalid syntax'),
        ("RUN --network=bridge x", 'invalid network mode "bridge"'),
        ("RUN --security=none x", 'security "none" is not valid'),
        (
            "RUN --mount=from=$x,target=/y z",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
    ],
)
def test_wrong_instructions_are_told_with_their_line(line: str, message: str) -> None:
    found = mistake(f"FROM scratch\n\n{line}\n")
    assert found.message == f"dockerfile parse error on line 3: {message}"
    assert found.lines[0].start == 3


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM a\nRUN <<EOF\nx", "unterminated heredoc", Lines(2, 3)),
        ("FROM a\nLABEL x", "LABEL must have two arguments", Lines(2, 2)),
        (
            "FROM a\nENV a=b \\\n c",
            'Syntax error - can\'t find = in "c". Must be of the form: name=value',
            Lines(2, 3),
        ),
        (
            'FROM a\nCMD ["a", 1]',
            "when using JSON array syntax, arrays must be comprised of strings only",
            Lines(2, 2),
        ),
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\", Lines(1, 1)),
        ("# syntax=a\n# SYNTAX=b\nFROM a", "only one syntax parser directive can be used", Lines(2, 2)),
        ("# nothing\n", "file with no instructions", Lines(1, 1)),
        ("RUN x", "no build stage in current context", Lines(1, 1)),
        (f"FROM a\nRUN {'x' * 70000}", "dockerfile line greater than max allowed size of 65535", Lines(2, 2)),
    ],
)
def test_files_that_cannot_be_read(text: str, message: str, line: Lines) -> None:
    found = mistake(text)
    assert (found.message, found.lines) == (message, (line,))


def test_a_file_needs_a_stage() -> None:
    assert mistake("").message == "the Dockerfile cannot be empty"
    assert mistake("ARG A=b").message == "dockerfile contains no stages to build"


def test_unreadable_lines_come_before_wrong_instructions() -> None:
    assert mistake("FROM a\nNONSENSE\nRUN <<EOF").message == "unterminated heredoc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bnd", 'unsupported mount type "bnd" (did you mean bind?)'),
        ("type=cache,sharing=lock", 'unsupported sharing value "lock" (did you mean locked?)'),
        ("target=/a,sorce=/b", "unexpected key 'sorce' in 'sorce=/b' (did you mean source?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("type=tmpfs,size=big", "invalid value for size: big"),
        ("size=1", "unexpected key 'size' for mount type 'bind'"),
        ("required", "unexpected key 'required' for mount type 'bind'"),
        ("uid=1", 'uid not allowed for "bind" type mounts'),
        ("type=cache,mode=8", "invalid value 8 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("ro=maybe", "invalid value for ro: maybe"),
        ("sharing=private", "invalid cache sharing set for bind mount"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ('a"b', 'failed to parse csv mounts: parse error on line 1, column 2: bare " in non-quoted-field'),
    ],
)
def test_wrong_mounts(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_mount(text, lambda value: value)
    assert caught.value.message == message


def test_wrong_devices() -> None:
    with pytest.raises(DockerfileError, match="device name already set to a"):
        parse_device("a,name=b")
    with pytest.raises(DockerfileError, match="unexpected key 'requird' in 'requird=1' \\(did you mean required\\?\\)"):
        parse_device("a,requird=1")


@pytest.mark.parametrize("expression", ["FROM x", "RUN a\nRUN b", "NONSENSE", ""])
def test_wrong_triggers_are_the_fault_of_the_from_line(expression: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_trigger(expression, Lines(4, 4))
    assert caught.value.lines == (Lines(4, 4),)


def test_messages_can_always_be_written() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM a\n\xff\xfe x")
    assert caught.value.message.encode()


def test_an_excerpt_shows_the_lines_around_and_marks_the_ones_at_fault() -> None:
    source = b"FROM a\nENV b=c\nRUN x \\\n  y\nUSER z\n"
    assert excerpt(source, [Lines(3, 4)]) == (
        "Dockerfile:3\n"
        "--------------------\n"
        "   2 |     ENV b=c\n"
        "   3 | >>> RUN x \\\n"
        "   4 | >>>   y\n"
        "   5 |     USER z\n"
        "--------------------\n"
    )


def test_an_excerpt_at_the_end_of_the_file_grows_upwards() -> None:
    assert excerpt(b"FROM a\nRUN true\nRUN false", [Lines(3, 3)], "app.Dockerfile") == (
        "app.Dockerfile:3\n"
        "--------------------\n"
        "   1 |     FROM a\n"
        "   2 |     RUN true\n"
        "   3 | >>> RUN false\n"
        "--------------------\n"
    )


def test_every_place_has_its_excerpt_and_no_place_has_none() -> None:
    assert excerpts(b"FROM a\nFROM b", [Lines(1, 1), Lines(2, 2)]).count(">>>") == 2
    assert excerpt(b"FROM a", []) == ""
    assert excerpt(b"FROM a", [Lines(9, 9)]) == ""
