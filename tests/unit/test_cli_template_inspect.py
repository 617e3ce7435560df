"""`inspect -f`: the API's structs first, then the JSON as it came; and the plain layouts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.cli.errors import CliError
from sampan.cli.inspecting import compacted, inspect, laid_out
from sampan.cli.template import Template
from sampan.cli.template.schema import decode

CONTAINER: dict[str, Any] = {
    "Id": "abc",
    "Created": "2026-01-02T03:04:05Z",
    "State": {"Status": "running", "Running": True, "Pid": 42, "StartedAt": "2026-01-02T03:04:05Z"},
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}}},
    "HostConfig": {
        "Dns": ["1.1.1.1"],
        "ShmSize": 67108864,
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "81"}]},
    },
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "81"}], "443/tcp": None},
        "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
        "IPAddress": "172.17.0.2",
    },
    "Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b", "RW": True, "Propagation": "rprivate"}],
    "Name": "/web",
}


class Told:
    def __init__(self) -> None:
        self.text = ""

    def out(self, text: str) -> None:
        self.text += text


def told(format: str, value: object = None, kind: str = "container.InspectResponse") -> str:
    cli = Told()
    data = json.dumps(CONTAINER if value is None else value).encode()
    inspect(cli, ["x"], format, lambda name: (kind, data))  # type: ignore[arg-type]
    return cli.text.removesuffix("\n")


@pytest.mark.parametrize(
    ("format", "shown"),
    [
        ("{{.ID}}", "abc"),
        ("{{.Id}}", "abc"),
        ("{{.State}}", "{running true false false false false 42 0  2026-01-02T03:04:05Z  <nil>}"),
        ("{{.State.Health}} {{if .State.Health}}y{{else}}n{{end}}", "<nil> n"),
        ("{{.Mounts}}", "[{bind  /a /b   true rprivate}]"),
        ("{{.HostConfig.PortBindings}}", "map[80/tcp:[{ 81}]]"),
        ("{{.HostConfig.DNS}} {{.HostConfig.Dns}}", None),
        ('{{join .Config.Env ","}} {{len .Config.Env}}', "A=1,B=2 2"),
        ("{{.Config.Labels.k}} {{.Config.Labels.zz}}", "v <no value>"),
        ('{{index .Config.Labels "zz"}}|', "|"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "81"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "172.17.0.2"),
        ("{{range $p, $c := .NetworkSettings.Ports}}{{$p}}{{$c}} {{end}}", "443/tcp[] 80/tcp[{0.0.0.0 81}] "),
        ("{{.NetworkSettings.IPAddress}} {{.HostConfig.Memory}}", "172.17.0.2 0"),
        ("{{json .Config.ExposedPorts}} {{json .Mounts}}", '{"80/tcp":{}} [{"Type":"bind","Source":"/a","Destination":"/b","Mode":"","RW":true,"Propagation":"rprivate"}]'),  # noqa: E501
        ('{{printf "%+v" .State}}', "&{Status:running Running:true Paused:false Restarting:false OOMKilled:false Dead:false Pid:42 ExitCode:0 Error: StartedAt:2026-01-02T03:04:05Z FinishedAt: Health:<nil>}"),  # noqa: E501
    ],
)  # fmt: skip
def test_shows_structs_as_docker_prints_them(format: str, shown: str | None) -> None:
    if shown is None:
        with pytest.raises(CliError, match='map has no entry for key "DNS"'):
            told(format)
        return
    assert told(format) == shown


def test_its_errors_are_those_of_the_plain_json() -> None:
    with pytest.raises(CliError) as raised:
        told("{{.State.Health.Status}}")
    assert raised.value.message == (
        'template parsing error: template: :1:8: executing "" at <.State.Health.Status>: map has no entry for key "Health"'  # noqa: E501
    )
    with pytest.raises(CliError) as raised:
        told("{{")
    assert (raised.value.message, raised.value.code) == ("template parsing error: template: :1: unclosed action", 64)


def test_times_and_durations_print_as_go_values() -> None:
    network = decode("network.Inspect", {"Created": "2026-01-02T03:04:05.000600Z"})
    shown = Template('{{.Created}} {{.Created.Unix}} {{.Created.Format "Mon Jan _2 15:04:05.000 2006"}}').render(
        network
    )
    assert shown == "2026-01-02 03:04:05.0006 +0000 UTC 1767323045 Fri Jan  2 03:04:05.000 2026"
    check = decode("v1.HealthcheckConfig", {"Interval": 90_000_000_000})
    assert Template("{{.Interval}} {{json .}}").render(check) == '1m30s {"Interval":90000000000}'


def test_what_is_not_found_comes_last_and_the_rest_is_shown() -> None:
    cli = Told()

    def fetch(name: str) -> tuple[str, bytes]:
        if name == "gone":
            raise CliError("no such thing: gone")
        return "any", b'{"a":1}\n'

    with pytest.raises(CliError, match="no such thing: gone"):
        inspect(cli, ["x", "gone", "y"], "", fetch)  # type: ignore[arg-type]
    assert cli.text == '[\n    {\n        "a": 1\n    },\n    {\n        "a": 1\n    }\n]\n'


def test_layout_changes_nothing_but_white_space() -> None:
    text = '{"a":[],"b":{},"c":[1.50,-2e3,"x\\u003e\\\\\\"{[,"],"d":{"e":null}}'
    assert laid_out(text) == (
        '{\n    "a": [],\n    "b": {},\n    "c": [\n        1.50,\n        -2e3,\n        "x\\u003e\\\\\\"{[,"\n    ],\n'  # noqa: E501
        '    "d": {\n        "e": null\n    }\n}'
    )
    assert compacted(laid_out(text)) == text
