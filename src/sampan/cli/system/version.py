"""`version`: of the client and of the daemon."""

from __future__ import annotations

import os
import sys

from sampan import API_VERSION, __version__

from ..commands import Command
from ..errors import CliError
from ..flags import Flag
from ..format import INSPECT_FORMAT_HELP
from ..tabs import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def client_version(api_version: str) -> dict[str, str]:
    """The client's half, under the API's names. `GoVersion` says what it really runs on."""
    machine = os.uname().machine
    return {
        "Version": __version__,
        "ApiVersion": api_version,
        "DefaultAPIVersion": API_VERSION,
        "GitCommit": os.environ.get("SAMPAN_BUILD", ""),
        "GoVersion": f"python{sys.version.split()[0]}",
        "Os": "linux",
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "Context": "default",
    }


def _date(text: str) -> str:
    """RFC 3339 as docker shows build times: Thu Aug 13 05:35:48 2026."""
    from ..template.gotime import Time
    from ..units import parse_rfc3339

    try:
        parse_rfc3339(text)
    except ValueError:
        return text
    return Time(text).format("Mon Jan _2 15:04:05 2006")


def _with_engine(server: dict[str, Any]) -> dict[str, Any]:
    """The daemon's answer, its components with an Engine among them."""
    components = server.get("Components") or []
    for component in components:
        details = component.get("Details") or {}
        if component.get("Name") == "Engine" and "BuildTime" in details:
            details["BuildTime"] = _date(details["BuildTime"])
    if not any(component.get("Name") == "Engine" for component in components):
        details = {key: server.get(key, "") for key in ("ApiVersion", "MinAPIVersion", "GitCommit", "GoVersion")}
        details |= {"Os": server.get("Os", ""), "Arch": server.get("Arch", "")}
        details["BuildTime"] = _date(server.get("BuildTime", ""))
        details["Experimental"] = "true" if server.get("Experimental") else "false"
        engine = {"Name": "Engine", "Version": server.get("Version", ""), "Details": details}
        server["Components"] = [*components, engine]
    return server


def _language(version: str) -> str:
    return "Python version" if version.startswith("python") else "Go version"


def _client_text(client: dict[str, str]) -> str:
    api = client["ApiVersion"]
    if api != client["DefaultAPIVersion"]:
        api += f" (downgraded from {client['DefaultAPIVersion']})"
    lines = [("Version", client["Version"]), ("API version", api), ("Python version", client["GoVersion"][6:])]
    if client["GitCommit"]:
        lines.append(("Git commit", client["GitCommit"]))
    lines += [("OS/Arch", f"{client['Os']}/{client['Arch']}"), ("Context", client["Context"])]
    return "Client:\n" + "".join(f" {name}:\t{value}\n" for name, value in lines)


def _component_text(component: dict[str, Any]) -> str:
    details = component.get("Details") or {}
    lines = [("Version", component.get("Version", ""))]
    if component.get("Name") == "Engine":
        language = details.get("GoVersion", "")
        lines += [
            ("API version", f"{details.get('ApiVersion', '')} (minimum version {details.get('MinAPIVersion', '')})"),
            (_language(language), language.removeprefix("python")),
            ("Git commit", details.get("GitCommit", "")),
            ("Built", details.get("BuildTime", "")),
            ("OS/Arch", f"{details.get('Os', '')}/{details.get('Arch', '')}"),
            ("Experimental", details.get("Experimental", "")),
        ]
    else:
        lines += [(key, details[key]) for key in sorted(details)]
    return f" {component.get('Name', '')}:\n" + "".join(f"  {name}:\t{value}\n" for name, value in lines)


def _server_text(server: dict[str, Any]) -> str:
    platform = (server.get("Platform") or {}).get("Name", "")
    return f"\nServer:{' ' + platform if platform else ''}\n" + "".join(
        _component_text(component) for component in server["Components"]
    )


def _version(cli: Cli, flags: Flags, args: list[str]) -> int:
    template = None
    format = flags.text("format")
    if format:
        from ..template import Template, TemplateError

        try:
            template = Template("{{json .}}" if format == "json" else format, name="version")
        except TemplateError as error:
            raise CliError(f"template parsing error: {error}", 64) from None
    problem: CliError | None = None
    server = None
    try:
        server = _with_engine(cli.client.get("/version"))
    except CliError as error:
        problem = error
    client = client_version(cli.client.version)
    if template is None:
        cli.out(align(_client_text(client) + (_server_text(server) if server else ""), least=20, padding=1))
    else:
        problem = _templated(cli, template, {"Client": client, "Server": server}) or problem
    if problem is not None:
        raise problem
    return 0


def _templated(cli: Cli, template: Any, value: dict[str, Any]) -> CliError | None:
    from ..template import TemplateError
    from ..template.schema import decode

    try:
        cli.out(align(template.render(decode("system.versionInfo", value)) + "\n", least=20, padding=1))
    except TemplateError as error:
        cli.out(align(error.partial + "\n", least=20, padding=1))
        return CliError(str(error))
    return None


COMMAND = Command(
    "[OPTIONS]",
    _version,
    most=0,
    flags=(Flag("format", "string", INSPECT_FORMAT_HELP, short="f"),),
)
