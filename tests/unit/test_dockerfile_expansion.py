"""Variables in Dockerfiles."""

from __future__ import annotations

import pytest

from sampan.builds.dockerfile import DockerfileError, ast, parse
from sampan.builds.dockerfile.expansion import expand
from sampan.builds.dockerfile.substitution import Expander, expanded
from sampan.builds.dockerfile.variables import arg_values, global_arguments, platform_arguments
from sampan.images.model import Platform

ENVIRONMENT = {
    "PWD": "/home",
    "SHELL": "bash",
    "EMPTY": "",
    "KO": "한국어",
    "FILE": "a.b.tar.gz",
    "URL": "http://x/y/z",
}
AMD64 = Platform(os="linux", architecture="amd64")
ARM = Platform(os="linux", architecture="arm", variant="v7")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("he'll'o", "hello"),
        (r"he\'llo", "he'llo"),
        (r'"abc\tdef"', r"abc\tdef"),
        (r"abc\tdef", "abctdef"),
        ("hello\\", "hello"),
        ("'hello\\'", "hello\\"),
        ("\"''\"", "''"),
        ("$.", "$."),
        ("he$1x", "hex"),
        ("he$PWD", "he/home"),
        (r"he\$PWD", "he$PWD"),
        (r"he\\$PWD", r"he\/home"),
        ("'$PWD'", "$PWD"),
        ("\"'$PWD'\"", "'/home'"),
        ("${PWD}x${NO}y", "/homexy"),
        ("${NO:-000}", "000"),
        ("${EMPTY:-x}${EMPTY-y}", "x"),
        ("${NO:-$PWD}", "/home"),
        ("${NO:-${NEITHER:-yyy}}", "yyy"),
        ("${NO:-a b}", "a b"),
        (r"${NO:-\${PWD}z}", "${PWDz}"),
        ("${PWD:+set}${NO:+set}${EMPTY:+set}${EMPTY+set}", "setset"),
        ("${PWD:?}${EMPTY?}", "/home"),
        ("${FILE#*.}", "b.tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE%.*}", "a.b.tar"),
        ("${FILE%%.*}", "a"),
        ("${FILE#z}", "a.b.tar.gz"),
        ("${FILE/./-}", "a-b.tar.gz"),
        ("${FILE//./-}", "a-b-tar-gz"),
        ("${FILE//?a*./_}", "a.b._gz"),
        (r"${URL//\//_}", "http:__x_y_z"),
        (r"${URL/http:\/\//}", "x/y/z"),
        ("${URL/*y/}", "/z"),
        ("$KO안", ""),
        ("${KO}안", "한국어안"),
        ("${aaa}}", "}"),
        ("$@@$*$#$?$-$$$!$0", "@"),
        ("a<b << EOF", "a<b << EOF"),
    ],
)
def test_expansion(word: str, text: str) -> None:
    assert expand(word, ENVIRONMENT).text == text


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("he'llo", "unexpected end of statement while looking for matching single-quote"),
        ('"he', "unexpected end of statement while looking for matching double-quote"),
        ("${PWD", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:-x}", "syntax error: bad substitution"),
        ("${PWD:=x}", "unsupported modifier (:=) in substitution"),
        ("${PWD.}", "unsupported modifier (.) in substitution"),
        ("${PWD:#x}", "unsupported modifier (:#) in substitution"),
        ("${PWD//x}", "syntax error: missing '/' in ${}"),
        ("${NO?}", "NO: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${NO:?say so}", "NO: say so"),
        (r"${PWD#\x}", r"invalid pattern (\x) in substitution: invalid escape '\x'"),
    ],
)
def test_what_cannot_be_expanded(word: str, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        expand(word, ENVIRONMENT)
    assert caught.value.message.startswith("failed to process ")
    assert caught.value.message.endswith(f": {reason}")


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("a${S}b", ["ax", "y", "zb"]),
        ('a"${S}"b', ["ax y zb"]),
        ("a\\ b  c", ["a b", "c"]),
        ("8${NO:-1}0 ''", ["810"]),
        ("", []),
    ],
)
def test_words_are_split_where_nothing_quotes(word: str, words: list[str]) -> None:
    assert list(expand(word, {"S": "x y z"}).words) == words


def test_the_names_asked_for_are_told() -> None:
    found = expand("$B ${A:-$C} $B", {"A": "a"})
    assert (found.matched, found.unmatched) == (("A",), ("B", "C"))


def test_the_escape_character_may_be_a_backtick() -> None:
    assert expand(r"c:\$PWD`$PWD", {"PWD": "w"}, "`").text == r"c:\w$PWD"


def test_what_nobody_can_have_meant_is_refused_and_not_suffered() -> None:
    with pytest.raises(DockerfileError, match="nested too deeply"):
        expand("${a:-" * 5000 + "}" * 5000, {})
    with pytest.raises(DockerfileError, match="longer than"):
        expand("$A" * 32, {"A": "x" * (1 << 20)})
    assert expand("${A#*a*a*a*a*a*a*a*a*a*b}", {"A": "a" * 5000}).text == "a" * 5000
    assert expand("${A//a*a*a*b/}", {"A": "a" * 20000}).text == "a" * 20000


def instruction(text: str) -> ast.Instruction:
    return parse(f"FROM scratch\n{text}".encode()).stages[0].instructions[-1]


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("ENV A=$X ${X}=b", "ENV A=1 1=b"),
        ("LABEL a=$X", "LABEL a=1"),
        ("WORKDIR /$X", "WORKDIR /1"),
        ("USER $X:${Y:-2}", "USER 1:2"),
        ("VOLUME /$X", "VOLUME /1"),
        ("STOPSIGNAL $X", "STOPSIGNAL 1"),
        ("COPY --chown=$X --chmod=$X $X/ /$X", "COPY --chown=1 --chmod=1 1/ /1"),
        ("ADD --checksum=$X $X /", "ADD --checksum=1 1 /"),
        ("EXPOSE $X", "EXPOSE 1"),
    ],
)
def test_instructions_that_expand(text: str, changed: str) -> None:
    found, wanted = expanded(instruction(text), {"X": "1"}), instruction(changed)
    fields = [name for name in found.__struct_fields__ if name not in ("code",)]
    assert [getattr(found, name) for name in fields] == [getattr(wanted, name) for name in fields]


@pytest.mark.parametrize(
    "text",
    [
        "RUN echo $X",
        "CMD $X",
        "ENTRYPOINT $X",
        "HEALTHCHECK CMD $X",
        'SHELL ["$X"]',
        "ONBUILD ENV a=$X",
        "MAINTAINER $X",
    ],
)
def test_instructions_that_do_not(text: str) -> None:
    found = instruction(text)
    assert expanded(found, {"X": "1"}) == found


def test_an_instruction_sees_the_values_from_before_itself() -> None:
    found = expanded(instruction("ENV abc=bye def=$abc"), {"abc": "hello"})
    assert isinstance(found, ast.Env)
    assert [str(pair) for pair in found.pairs] == ["abc=bye", "def=hello"]


def test_a_variable_may_hold_several_ports() -> None:
    found = expanded(instruction("EXPOSE $P 90"), {"P": "80 81/udp"})
    assert isinstance(found, ast.Expose)
    assert sorted(found.ports) == ["80", "81/udp", "90"]


def test_inline_files_expand_unless_their_word_is_quoted() -> None:
    found = expanded(instruction("COPY <<A <<'B' /\n\"$X\" '$X' \\$X\nA\n$X\nB"), {"X": "1"})
    assert isinstance(found, ast.Copy)
    assert [file.data for file in found.files] == [b"\"1\" '1' $X\n", b"$X\n"]


def test_mounts_are_made_when_variables_are_known() -> None:
    found = expanded(instruction("RUN --mount=type=$T,target=/$X true"), {"T": "cache", "X": "c"})
    assert isinstance(found, ast.Run)
    assert found.mounts == (ast.Mount(type="cache", target="/c", read_only=False),)


def test_failures_tell_the_line() -> None:
    with pytest.raises(DockerfileError) as caught:
        expanded(instruction("WORKDIR ${X"), {})
    assert caught.value.lines == (ast.Lines(2, 2),)
    with pytest.raises(DockerfileError, match="VOLUME specified can not be an empty string"):
        expanded(instruction("VOLUME $X"), {})


def test_platform_arguments() -> None:
    values = platform_arguments(ARM, AMD64, "", {"TARGETOS": "plan9"})
    assert (values["TARGETPLATFORM"], values["TARGETARCH"], values["TARGETVARIANT"]) == ("linux/arm/v7", "arm", "v7")
    assert (values["BUILDPLATFORM"], values["BUILDVARIANT"]) == ("linux/amd64", "")
    assert (values["TARGETSTAGE"], values["TARGETOS"]) == ("default", "plan9")


def test_global_arguments_see_each_other_and_are_overridden_by_build_arguments() -> None:
    parsed = parse(b"ARG A=1\nARG B=${A}2 C D\nFROM x AS last")
    found = global_arguments(parsed, {"A": "9", "D": "d", "UNKNOWN": "u"}, AMD64, AMD64)
    assert (found.values["A"], found.values["B"], found.values["D"]) == ("9", "92", "d")
    assert found.values["TARGETSTAGE"] == "last"
    assert found.declared == {"A", "B", "C", "D"}
    assert "C" not in found.values
    assert "UNKNOWN" not in found.values


def test_an_arg_takes_the_build_argument_its_default_or_the_global_value() -> None:
    arg = instruction("ARG A B=b$E C=c D E=$C")
    assert isinstance(arg, ast.Arg)
    expander = Expander({"C": "before"})
    found = arg_values(arg, {"B": "given"}, {"A": "global", "C": "no"}, expander)
    values = {definition.key: definition.value for definition in found.arguments}
    assert values == {"A": "global", "B": "given", "C": "c", "D": None, "E": "c"}
    assert expander.environment == {"C": "before"}
