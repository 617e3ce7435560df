"""What a Dockerfile says once parsed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sampan.builds.dockerfile import ast, parse
from sampan.builds.dockerfile.ast import ArgDefinition, Lines, Mount, Pair
from sampan.builds.dockerfile.commands import run_plan, with_shell
from sampan.builds.dockerfile.directives import leading, syntax
from sampan.builds.dockerfile.mounts import parse_mount
from sampan.builds.dockerfile.parser import parse_trigger


def instructions(text: str) -> tuple[ast.Instruction, ...]:
    return parse(f"FROM scratch\n{text}".encode()).stages[0].instructions


def only(text: str) -> ast.Instruction:
    (found,) = instructions(text)
    return found


def run(text: str) -> ast.Run:
    found = only(text)
    assert isinstance(found, ast.Run)
    return found


def test_stages_have_names_bases_platforms_and_descriptions() -> None:
    parsed = parse(
        b"ARG V=3 # not a comment\n# builder where it is compiled\n"
        b"FROM --platform=$BUILDPLATFORM alpine:$V aS Builder\nFROM builder"
    )
    first, second = parsed.stages
    assert (first.base, first.name, first.name_as_written, first.platform) == (
        "alpine:$V",
        "builder",
        "Builder",
        "$BUILDPLATFORM",
    )
    assert (first.description, first.as_keyword, first.lines) == ("where it is compiled", "aS", Lines(3, 3))
    assert (second.base, second.name) == ("builder", "")
    (arg,) = parsed.global_arguments
    assert [definition.key for definition in arg.arguments] == ["V", "#", "not", "a", "comment"]


def test_lines_count_continuations_comments_and_heredoc_bodies() -> None:
    first, second = instructions("RUN a \\\n# comment\n  && b <<X\nbody\nX\nRUN c")
    assert (first.lines, first.code) == (Lines(2, 6), "RUN a   && b <<X")
    assert second.lines == Lines(7, 7)


def test_a_comment_that_looks_continued_is_not() -> None:
    assert len(instructions("# comment \\\nRUN a")) == 1


def test_two_escapes_at_the_end_do_not_continue() -> None:
    assert [found.code for found in instructions("RUN echo \\\\\nUSER me")] == ["RUN echo \\\\", "USER me"]


def test_spaces_after_the_escape_still_continue() -> None:
    assert only("RUN a \\ \t\n b").code == "RUN a  b"


def test_an_empty_line_inside_an_instruction_is_remembered() -> None:
    assert parse(b"FROM scratch\nRUN a \\\n\n  b\nRUN c").empty_continuations == (4,)


def test_the_escape_directive_changes_continuations() -> None:
    parsed = parse(b"# escape=`\nFROM scratch\nRUN dir c:\\\nRUN a `\n  b")
    assert parsed.escape == "`"
    assert [found.code for found in parsed.stages[0].instructions] == ["RUN dir c:\\", "RUN a   b"]


@pytest.mark.parametrize(
    "text", ["# hello\n# escape=`\nFROM scratch", "FROM scratch\n# escape=`\nRUN x", "\n# escape=`\nFROM scratch"]
)
def test_directives_stand_before_everything_else(text: str) -> None:
    assert parse(text.encode()).escape == "\\"


def test_directives_may_have_spaces_and_any_case() -> None:
    parsed = parse(b"\xef\xbb\xbf#   SYNTAX =  docker/dockerfile:1 extra  \n# escape = \\\nFROM scratch")
    assert parsed.directive("syntax") == "docker/dockerfile:1 extra"
    assert [directive.line for directive in parsed.directives] == [1, 2]


def test_the_frontend_is_found_in_other_languages_comments_too() -> None:
    assert syntax(b"#!/usr/bin/env x\n# syntax=a/b:1 y\nFROM x") == "a/b:1"
    assert syntax(b"// syntax=a/b:1\nmodule x") == "a/b:1"
    assert syntax(b'{"syntax": "a/b:1"}') == "a/b:1"
    assert syntax(b"FROM x\n# syntax=a/b:1") == ""
    assert leading(b"# check=skip=all;error=true\nFROM x", "check") == "skip=all;error=true"


@pytest.mark.parametrize(
    ("text", "command", "shell"),
    [
        ("CMD echo hi", ("echo hi",), True),
        ('CMD ["echo", "h i"]', ("echo", "h i"), False),
        ("CMD []", (), False),
        ("CMD", (), True),
        ("CMD ['single', 'quotes']", ("['single', 'quotes']",), True),
        ('CMD ["a", "b",]', ('["a", "b",]',), True),
        ('CMD ["a"] && b', ('["a"] && b',), True),
        ("RUN [ -f /x ] && y", ("[ -f /x ] && y",), True),
        ('ENTRYPOINT [ "\\u00e9\\n" ]', ("é\n",), False),
    ],
)
def test_json_is_the_exec_form_and_anything_else_the_shells(text: str, command: tuple[str, ...], shell: bool) -> None:
    found = only(text)
    assert isinstance(found, ast.CommandLine)
    assert (found.command, found.shell) == (command, shell)


def test_env_and_label_have_two_forms() -> None:
    env, label = instructions('ENV A=b C="d e" F=g\\ h\nLABEL a value with = in it')
    assert isinstance(env, ast.Env)
    assert isinstance(label, ast.Label)
    assert env.pairs == (Pair("A", "b"), Pair("C", '"d e"'), Pair("F", "g\\ h"))
    assert label.pairs == (Pair("a", "value with = in it", legacy=True),)


def test_arg_has_names_with_and_without_values_and_descriptions() -> None:
    arg = only('# VERSION what to build\nARG VERSION OTHER= THIRD="a b"')
    assert isinstance(arg, ast.Arg)
    assert arg.arguments == (
        ArgDefinition("VERSION", None, "what to build"),
        ArgDefinition("OTHER", ""),
        ArgDefinition("THIRD", '"a b"'),
    )


def test_copy_and_add_have_all_their_flags() -> None:
    copy, add = instructions(
        "COPY --from=a --chown=1:2 --chmod=0644 --link --parents --exclude=*.md --exclude=x a b /c/\n"
        'ADD --checksum=sha256:00 --keep-git-dir=true --unpack=false --link=false ["a b", "/c"]'
    )
    assert isinstance(copy, ast.Copy)
    assert isinstance(add, ast.Add)
    assert (copy.from_, copy.chown, copy.chmod, copy.link, copy.parents) == ("a", "1:2", "0644", True, True)
    assert (copy.exclude, copy.sources, copy.destination) == (("*.md", "x"), ("a", "b"), "/c/")
    assert (add.checksum, add.keep_git_dir, add.unpack, add.link) == ("sha256:00", True, False, False)
    assert (add.sources, add.destination) == (("a b",), "/c")


def test_two_dashes_end_the_flags() -> None:
    copy = only("COPY --link -- --from=x /y")
    assert isinstance(copy, ast.Copy)
    assert (copy.from_, copy.sources) == ("", ("--from=x",))


def test_run_has_mounts_network_security_and_devices() -> None:
    found = run(
        "RUN --mount=type=cache,target=/x --mount=from=base,src=/a,dst=/b --network=none --security=insecure "
        "--device=vendor.com/gpu=0,required make"
    )
    assert [(flag.text, flag.from_) for flag in found.mount_flags] == [
        ("type=cache,target=/x", ""),
        ("from=base,src=/a,dst=/b", "base"),
    ]
    assert (found.network, found.security, found.command) == ("none", "insecure", ("make",))
    assert found.devices == (ast.Device("vendor.com/gpu=0", required=True),)
    assert sorted(found.flags_used) == ["device", "mount", "network", "security"]


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/a", Mount(target="/a")),
        ("type=bind,dst=/a,rw", Mount(target="/a", read_only=False)),
        ("type=bind,dst=/a,readwrite=false", Mount(target="/a", read_only=True)),
        (
            "type=cache,id=i,target=/c,sharing=locked,mode=0770,uid=1,gid=2,from=b,src=/s",
            Mount(
                type="cache", id="i", target="/c", sharing="locked", mode=0o770, uid=1, gid=2,
                from_="b", source="/s", read_only=False,
            ),
        ),
        ("type=cache,target=/c,ro", Mount(type="cache", target="/c", read_only=True)),
        ("type=tmpfs,target=/t,size=1.5m", Mount(type="tmpfs", target="/t", size=3 << 19, read_only=False)),
        ("type=secret,id=s,env=S,required", Mount(type="secret", id="s", env="S", required=True)),
        ("type=SSH,required=true", Mount(type="ssh", required=True)),
        ('"target=/with,comma"', Mount(target="/with,comma")),
    ],
)  # fmt: skip
def test_mounts(text: str, mount: Mount) -> None:
    assert parse_mount(text, lambda value: value) == mount


def test_mount_values_are_expanded_and_keys_are_not() -> None:
    assert parse_mount("type=$t,target=/$t", lambda value: value.replace("$t", "cache")).target == "/cache"


def test_expose_is_sorted_and_volume_takes_both_forms() -> None:
    expose, volume, listed = instructions('EXPOSE 8080 53/udp\nVOLUME /a /b\nVOLUME ["/c d"]')
    assert isinstance(expose, ast.Expose)
    assert isinstance(volume, ast.Volume)
    assert isinstance(listed, ast.Volume)
    assert expose.ports == ("53/udp", "8080")
    assert volume.volumes == ("/a", "/b")
    assert listed.volumes == ("/c d",)


def test_healthcheck_times_are_nanoseconds() -> None:
    found = only(
        "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --start-interval=200ms --retries=4 cmd curl x"
    )
    assert isinstance(found, ast.Healthcheck)
    assert found.test == ("CMD-SHELL", "curl x")
    times = (found.interval, found.timeout, found.start_period, found.start_interval, found.retries)
    assert times == (90 * 10**9, 15 * 10**8, 0, 2 * 10**8, 4)


@pytest.mark.parametrize(
    ("text", "test"),
    [("HEALTHCHECK NONE", ("NONE",)), ('HEALTHCHECK CMD ["a", "b"]', ("CMD", "a", "b"))],
)
def test_healthcheck_forms(text: str, test: tuple[str, ...]) -> None:
    found = only(text)
    assert isinstance(found, ast.Healthcheck)
    assert found.test == test


def test_whole_line_instructions_keep_their_line() -> None:
    maintainer, user, workdir, signal = instructions(
        "MAINTAINER A B <c@d>\nUSER a b\nWORKDIR /with space\nSTOPSIGNAL SIGRTMIN+3"
    )
    assert isinstance(maintainer, ast.Maintainer)
    assert isinstance(user, ast.User)
    assert isinstance(workdir, ast.Workdir)
    assert isinstance(signal, ast.StopSignal)
    assert (maintainer.maintainer, user.user, workdir.path, signal.signal) == (
        "A B <c@d>",
        "a b",
        "/with space",
        "SIGRTMIN+3",
    )


def test_onbuild_keeps_its_trigger_with_heredocs_for_later() -> None:
    found = only("ONBUILD RUN cat <<EOF\nhello\nEOF")
    assert isinstance(found, ast.Onbuild)
    assert found.expression == "RUN cat <<EOF\nhello\nEOF"
    again = parse_trigger(found.expression, Lines(1, 1))
    assert isinstance(again, ast.Run)
    assert (again.heredocs[0].content, again.lines) == (b"hello\n", Lines(1, 1))


@pytest.mark.parametrize(
    ("text", "name", "content", "expand", "chomp"),
    [
        ("RUN <<EOF\nEOF", "EOF", b"", True, False),
        ("RUN <<EOF\n\ta $b\nEOF", "EOF", b"\ta $b\n", True, False),
        ("RUN <<-EOF\n\ta\n\tEOF", "EOF", b"\ta\n", True, True),
        ("RUN <<'E F' x\na\nE F", "E F", b"a\n", False, False),
        ('RUN <<e"o"f\na\neof', "eof", b"a\n", False, False),
        ("RUN <<eo\\'f\na\neo'f", "eo'f", b"a\n", True, False),
        ("RUN <<$EOF\n$EOF", "$EOF", b"", True, False),
        ("RUN <<  EOF\n# kept\nEOF", "EOF", b"# kept\n", True, False),
        ("RUN --network=none <<EOF\na \\\nb\nEOF", "EOF", b"a \\\nb\n", True, False),
    ],
)
def test_heredocs(text: str, name: str, content: bytes, expand: bool, chomp: bool) -> None:
    (heredoc,) = run(text).heredocs
    assert (heredoc.name, heredoc.content, heredoc.expand, heredoc.chomp) == (name, content, expand, chomp)


def test_several_heredocs_on_a_line_follow_each_other() -> None:
    copy = only("COPY <<X <<-'Y' /dest/\nY\nX\n\tX\n\tY")
    assert isinstance(copy, ast.Copy)
    assert copy.files == (ast.InlineFile("X", b"Y\n"), ast.InlineFile("Y", b"X\n", expand=False))
    assert (copy.sources, copy.destination) == ((), "/dest/")


@pytest.mark.parametrize("text", ['RUN "<<EOF"', "RUN echo a<<b", 'RUN ["<<EOF"]', "USER <<EOF", "RUN cat <<<here"])
def test_what_is_no_heredoc(text: str) -> None:
    assert len(instructions(f"{text}\nUSER x")) == 2


def test_heredoc_bodies_keep_their_bytes_and_line_ends() -> None:
    parsed = parse(b"FROM scratch\r\nCOPY <<EOF /x\r\nlatin \xe9\r\nEOF\r\nLABEL a=\xe9\r\n")
    copy, label = parsed.stages[0].instructions
    assert isinstance(copy, ast.Copy)
    assert isinstance(label, ast.Label)
    assert copy.files[0].data == b"latin \xe9\r\n"
    assert label.pairs[0].value == "\ufffd"


def test_run_plans() -> None:
    shell = ("/bin/bash", "-c")
    assert run_plan(run("RUN a && b")).arguments == ("/bin/sh", "-c", "a && b")
    assert run_plan(run('RUN ["a", "b"]'), shell).arguments == ("a", "b")
    assert run_plan(run("RUN <<EOF\na\nb\nEOF"), shell).arguments == ("/bin/bash", "-c", "a\nb\n")
    assert run_plan(run("RUN <<-EOF cat\n\ta\n\tEOF")).arguments == ("/bin/sh", "-c", "<<-EOF cat\n\ta\nEOF")
    script = run_plan(run("RUN <<-EOF\n\t#!/bin/python\n\tprint()\n\tEOF"))
    assert script.arguments == ("/bin/sh", "-c", "/dev/pipes/EOF")
    assert (script.script_path, script.script) == ("/dev/pipes/EOF", b"#!/bin/python\nprint()\n")
    assert script.summary == "#!/bin/python..."


def test_a_scripts_name_cannot_leave_its_directory() -> None:
    plan = run_plan(run("RUN <<../../etc/cron\n#!/bin/sh\n../../etc/cron"))
    assert plan.script_path == "/dev/pipes/etc/cron"


def test_the_images_shell_runs_shell_forms() -> None:
    cmd = only("CMD a b")
    assert isinstance(cmd, ast.Cmd)
    assert with_shell(cmd, ("cmd", "/S", "/C")) == ("cmd", "/S", "/C", "a b")


def test_seen_hears_what_stands_before_a_mistake() -> None:
    heard: list[str] = []
    seen: Callable[[ast.Stage | ast.Instruction], None] = lambda item: heard.append(item.keyword)  # noqa: E731
    with pytest.raises(Exception, match="unknown instruction"):
        parse(b"FROM a\nUSER b\nNONSENSE", seen=seen)
    assert heard == ["FROM", "USER"]
