"""Go's text/template as docker's `--format` uses it. Expected is what docker 28.2 printed for the same formats."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.cli.row import Row
from sampan.cli.template import Template, TemplateError
from sampan.cli.template.functions import HEADER_FUNCTIONS
from sampan.cli.template.govalues import GoList, GoMap, NilPointer, Number, json_text
from sampan.cli.template.rows import Header
from sampan.cli.template.schema import decode


class Container(Row):
    go_type = "formatter.ContainerContext"
    unexported = ("c", "trunc")

    def Names(self) -> str:
        return "web"

    def Label(self, name: str) -> str:
        return {"a": "b"}.get(name, "")

    def Platform(self) -> object:
        return NilPointer("*formatter.Platform")


@pytest.mark.parametrize(
    ("format", "shown"),
    [
        ("x", "x"),
        ("{{.Names}}", "web"),
        ("{{- .Names -}}  x", "webx"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{/* c */}}", ""),
        ('{{.Label "a"}}|{{.Label "x"}}', "b|"),
        ('{{"a" | .Label}}', "b"),
        ("{{.Platform}}", "<nil>"),
        ("{{.Header}}", "<no value>"),
        ("{{json .}}", '{"Names":"web","Platform":null}'),
        ("{{.Names|}}", "web"),
        ('{{join (split .Names "e") "-"}}', "w-b"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ('{{range $i, $e := split "a,b" ","}}{{$i}}{{$e}}{{else}}n{{end}}', "0a1b"),
        ('{{range split "a,b,c" ","}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}', "ac"),
        ('{{range split "a,b,c" ","}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', "a"),
        ('{{if eq .Names "x"}}A{{else if true}}B{{else}}C{{end}}', "B"),
        ("{{with $x := .Names}}{{$x}}{{.}}{{end}}", "webweb"),
        ('{{with ""}}a{{else with "z"}}{{.}}{{end}}', "z"),
        ("{{$x := 1}}{{range 3}}{{$x = .}}{{end}}{{$x}}", "2"),
        ('{{define "x"}}hi{{.}}{{end}}{{template "x" 3}}', "hi3"),
        ('{{block "y" .Names}}[{{.}}]{{end}}', "[web]"),
        ("{{true}}{{1.5}}{{1e3}}{{0x10}}{{1_000}}{{'a'}}", "true1.5100016100097"),
        ("{{1234567.5}} {{0.00001}} {{1e21}} {{json 0.0000001}}", "1.2345675e+06 1e-05 1e+21 1e-7"),
        ('{{printf "%q %v %5d|%-5s|%t %x %T" "a" 1 2 "b" true "hi" 3}}', '"a" 1     2|b    |true 6869 int'),
        ('{{printf "%d" "a" 1}}', "%!d(string=a)%!(EXTRA int=1)"),
        ('{{printf "%d"}}', "%!d(MISSING)"),
        ('{{printf "%v%%" 5}}{{printf "%08.3f|%+d|%c|%U" 3.14159 5 65 65}}', "5%0003.142|+5|A|U+0041"),
        ('{{.Names | len | printf "%03d"}}', "003"),
        ('{{not 1}} {{and 1 0}} {{or 0 "x"}} {{or 0 ""}}|', "false 0 x |"),
        ('{{html "<a>"}} {{js "<a>"}} {{urlquery "a b&"}}', "&lt;a&gt; \\u003Ca\\u003E a+b%26"),
        ('{{println "a" 1}}{{print "a" 1 2 "b" "c" true}}', "a 1\na1 2bctrue"),
        ('{{title "abc def"}} {{lower "ABC"}} {{upper "x"}} {{pad "x" 1 2}}|{{pad "" 3 3}}|', "Abc Def abc X  x  ||"),
        ('{{truncate "abc" 10}} {{truncate "abc" 2}}', "abc ab"),
        ('{{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge "b" "a"}} {{eq 1 2 1}}', "true true true false true true"),
        ('{{index "abc" 1}} {{slice "abc" 1 2}} {{len "héé"}}', "98 b 5"),
        ("{{`raw\\n`}} {{\"q\\t\\u00e9\"}}", "raw\\n q\té"),
    ],
)  # fmt: skip
def test_renders_as_docker_does(format: str, shown: str) -> None:
    assert Template(format).render(Container()) == shown


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("{{", "template: :1: unclosed action"),
        ("a\n{{.X", "template: :2: unclosed action"),
        ("{{(.Names}}", "template: :1: unclosed left paren"),
        ("{{.Names)}}", "template: :1: unexpected right paren"),
        ("{{#}}", 'template: :1: unexpected "#" in command'),
        ('{{"a}}', "template: :1: unterminated quoted string"),
        ("{{`a", "template: :1: unterminated raw quoted string"),
        ("{{.Na-me}}", "template: :1: bad character U+002D '-'"),
        ("{{é}}", 'template: :1: function "é" not defined'),
        ("{{1a}}", 'template: :1: bad number syntax: "1a"'),
        ("{{if}}", "template: :1: missing value for if"),
        ("{{range .X}}{{.}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{nofunc 1}}", 'template: :1: function "nofunc" not defined'),
        ("{{$x}}", 'template: :1: undefined variable "$x"'),
        ("{{1 | 2}}", "template: :1: non executable command in pipeline stage 2"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{1-2}}", 'template: :1: bad number syntax: "1-2"'),
        ("{{/*/ }}", "template: :1: unclosed comment"),
        ("{{`a`..}}", "template: :1: unexpected <.> in operand"),
    ],
)
def test_refuses_what_does_not_parse_in_gos_words(format: str, message: str) -> None:
    with pytest.raises(TemplateError) as raised:
        Template(format)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("{{.Nope}}", '2: executing "" at <.Nope>: can\'t evaluate field Nope in type *formatter.ContainerContext'),
        ("{{.Names.Foo}}", '8: executing "" at <.Names.Foo>: can\'t evaluate field Foo in type string'),
        ("{{.c}}", '2: executing "" at <.c>: c is an unexported field of struct type *formatter.ContainerContext'),
        ("{{.Label}}", '2: executing "" at <.Label>: wrong number of args for Label: want 1 got 0'),
        ("{{.Label 1}}", '9: executing "" at <1>: expected string; found 1'),
        ('{{.Names "a"}}', '2: executing "" at <.Names>: wrong number of args for Names: want 0 got 1'),
        ("{{len .}}", '2: executing "" at <len .>: error calling len: len of type formatter.ContainerContext'),
        ("{{eq .Names}}", '2: executing "" at <eq .Names>: error calling eq: missing argument for comparison'),
        ("{{eq 1 1.0}}", '2: executing "" at <eq 1 1.0>: error calling eq: incompatible types for comparison'),
        ("{{split .Names}}", '2: executing "" at <split>: wrong number of args for split: want 2 got 1'),
        ("{{slice .Names 0 9}}", '2: executing "" at <slice .Names 0 9>: error calling slice: index out of range: 9'),
        ('{{join .Names ","}}', '7: executing "" at <.Names>: wrong type for value; expected []string; got string'),
        ("{{range .Names}}{{end}}", '8: executing "" at <.Names>: range can\'t iterate over web'),
        ("{{nil}}", '2: executing "" at <nil>: nil is not a command'),
        ('{{"a" "b"}}', '2: executing "" at <"a">: can\'t give argument to non-function "a"'),
        ("{{(.Names).Foo}}", '3: executing "" at <.Names>: can\'t evaluate field Foo in type string'),
        ("{{range $i, $e := .Names}}{{end}}", '18: executing "" at <.Names>: range can\'t iterate over web'),
        ('{{template "x"}}', '11: executing "" at <{{template "x"}}>: template "x" not defined'),
        ("{{call .Names}}", '2: executing "" at <call .Names>: error calling call: non-function .Names of type string'),
    ],
)
def test_tells_where_and_why_it_cannot_go_on(format: str, message: str) -> None:
    with pytest.raises(TemplateError) as raised:
        Template(format).render(Container())
    assert str(raised.value) == f"template: :1:{message}"


RAW = {"Id": "1", "N": Number("7"), "None": None, "Map": {"b": "2", "a": None}, "List": ["x", {"k": "v"}], "T": True}


@pytest.mark.parametrize(
    ("format", "shown"),
    [
        ("{{.N}} {{.T}} {{.None}} {{.Missing}}", "7 true <no value> <no value>"),
        ("{{.Map}} {{.List}}", "map[a:<nil> b:2] [x map[k:v]]"),
        ("{{range $k, $v := .Map}}{{$k}}={{$v}};{{end}}", "a=<no value>;b=2;"),
        ('{{index .Map "b"}}{{index .Map "z"}} {{(index .List 1).k}}', "2<no value> v"),
        ("{{html nil .N .T}}", "&lt;no value&gt;7true"),
        ("{{json .Map}} {{json .List}}", '{"a":null,"b":"2"} ["x",{"k":"v"}]'),
    ],
)
def test_prints_plain_json_as_go_prints_maps_and_slices(format: str, shown: str) -> None:
    assert Template(format).render(RAW) == shown


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("{{.Nope}}", '2: executing "" at <.Nope>: map has no entry for key "Nope"'),
        ("{{.Map.b.c}}", '6: executing "" at <.Map.b.c>: can\'t evaluate field c in type interface {}'),
        ("{{.None.x}}", '7: executing "" at <.None.x>: nil pointer evaluating interface {}.x'),
        ("{{index .List 9}}", '2: executing "" at <index .List 9>: error calling index: index out of range: 9'),
        ("{{with .Map}}{{.z}}{{end}}", '15: executing "" at <.z>: map has no entry for key "z"'),
    ],
)
def test_missing_keys_are_errors_where_asked_for(format: str, message: str) -> None:
    with pytest.raises(TemplateError) as raised:
        Template(format).render(RAW, missing_key_is_error=True)
    assert str(raised.value) == f"template: :1:{message}"


def test_json_escapes_html_only_in_rows() -> None:
    class Ports(Row):
        go_type = "x"

        def Ports(self) -> str:
            return "80->80 \u2028"

    assert json_text("a<b>&") == '"a<b>&"'
    assert json_text(Ports()) == '{"Ports":"80-\\u003e80 \\u2028"}'
    assert json_text(GoMap({"é": GoList(is_nil=True)})) == '{"é":null}'


def test_a_header_keeps_its_names_through_functions() -> None:
    template = Template('{{upper .Names}}\t{{json .Size}}\t{{.Label "com.x.my-key"}}\t{{pad .Names 1 1}}')
    head = template.render(Header({"Names": "NAMES", "Size": "SIZE"}), functions=HEADER_FUNCTIONS)
    assert head.split("\t")[:2] == ["NAMES", "SIZE"]
    assert head.split("\t")[2:] == ["my key", " NAMES "]


NETWORK = decode("network.Inspect", {"Created": "2026-01-02T03:04:05Z", "Labels": {"a": "b"}})

PIECES = st.sampled_from(
    [
        "{{", "}}", "{{-", "-}}", " ", ".", "$", "x", ".Names", ".Map", "$x", ":=", "=", "|", "(", ")", '"a"', "`b`",
        "'c'", "1", "-2.5", "1e9", "0x", "if ", "else ", "end", "range ", "with ", "define ", "template ", "block ",
        ".Created", ".Created.Format ", ".Label ", "break", "continue", "nil", "true",
        "eq ", "index ", "slice ", "len ", "printf ", '"%*d%v"', "json ", "join ",
        "split ", "truncate ", "pad ", "html ", ",", "/*", "*/", "\n", "é", "\\", "{{end}}", "{{.}}", "and ", "not ",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join), st.booleans())
def test_no_format_whatever_ends_in_a_traceback(format: str, in_braces: bool) -> None:
    source = "{{" + format + "}}" if in_braces else format
    for data in (Container(), RAW, NETWORK):
        try:
            Template(source).render(data)
        except TemplateError as error:
            assert str(error).startswith("template: ")


def test_a_template_that_calls_itself_is_an_error() -> None:
    with pytest.raises(TemplateError, match="exceeded maximum template depth"):
        Template('{{define "x"}}{{template "x"}}{{end}}{{template "x"}}').render({})
