"""`info`: what the daemon is and has."""

from __future__ import annotations

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..format import INSPECT_FORMAT_HELP
from ..units import bytes_size
from .version import client_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..flags import Flags
    from ..session import Cli


def _bool(value: object) -> str:
    return "true" if value else "false"


def _some(label: str, value: str | None) -> list[str]:
    return [f"{label} {value}"] if value else []


def _plugins(info: dict[str, Any]) -> list[str]:
    plugins = info.get("Plugins") or {}
    out = [" Plugins:"]
    for kind in ("Volume", "Network", "Authorization", "Log"):
        names = plugins.get(kind) or []
        if names or kind != "Authorization":
            out.append(f"  {kind}: {' '.join(names)}")
    return out


def _security(info: dict[str, Any]) -> list[str]:
    options = info.get("SecurityOptions") or []
    out = [" Security Options:"] if options else []
    for option in options:
        pairs = dict(part.partition("=")[::2] for part in option.split(","))
        out.append(f"  {pairs.get('name', option)}")
        if "profile" in pairs:
            out.append(f"   Profile: {pairs['profile']}")
    return out


def _linux(info: dict[str, Any]) -> list[str]:
    if info.get("OSType") != "linux":
        return []
    commits = {key: (info.get(key) or {}).get("ID", "") for key in ("ContainerdCommit", "RuncCommit", "InitCommit")}
    out = [f" Init Binary: {info.get('InitBinary', '')}"]
    out.append(f" containerd version: {commits['ContainerdCommit']}")
    out.append(f" runc version: {commits['RuncCommit']}")
    out.append(f" init version: {commits['InitCommit']}")
    return out + _security(info)


def _registries(info: dict[str, Any]) -> list[str]:
    config = info.get("RegistryConfig") or {}
    out: list[str] = []
    ranges, indexes = config.get("InsecureRegistryCIDRs") or [], config.get("IndexConfigs") or {}
    if ranges or indexes:
        out.append(" Insecure Registries:")
        out += [f"  {index.get('Name', '')}" for index in indexes.values() if not index.get("Secure")]
        out += [f"  {text}" for text in ranges]
    if config.get("Mirrors"):
        out.append(" Registry Mirrors:")
        out += [f"  {mirror}" for mirror in config["Mirrors"]]
    return out


def _debug(info: dict[str, Any], client_debug: bool) -> list[str]:
    out = [f" Debug Mode: {_bool(info.get('Debug'))}"]
    if info.get("Debug") or client_debug:
        out.append(f"  File Descriptors: {info.get('NFd', 0)}")
        out.append(f"  Goroutines: {info.get('NGoroutines', 0)}")
        out.append(f"  System Time: {info.get('SystemTime', '')}")
        out.append(f"  EventsListeners: {info.get('NEventsListener', 0)}")
    return out


def server_lines(info: dict[str, Any], username: str, client_debug: bool) -> list[str]:
    """The daemon's half, line by line."""
    out = [f" Containers: {info.get('Containers', 0)}"]
    out += [f"  {state}: {info.get('Containers' + state, 0)}" for state in ("Running", "Paused", "Stopped")]
    out.append(f" Images: {info.get('Images', 0)}")
    out += _some(" Server Version:", info.get("ServerVersion")) + _some(" Storage Driver:", info.get("Driver"))
    out += [f"  {name}: {value}" for name, value in info.get("DriverStatus") or []]
    out += [f" {name}: {value}" for name, value in info.get("SystemStatus") or []]
    out += _some(" Logging Driver:", info.get("LoggingDriver"))
    out += _some(" Cgroup Driver:", info.get("CgroupDriver")) + _some(" Cgroup Version:", info.get("CgroupVersion"))
    out += _plugins(info)
    if info.get("CDISpecDirs"):
        out += [" CDI spec directories:", *(f"  {folder}" for folder in info["CDISpecDirs"])]
    if info.get("DiscoveredDevices"):
        out.append(" Discovered Devices:")
        out += [f"  {device['Source']}: {device['ID']}" for device in info["DiscoveredDevices"]]
    out.append(f" Swarm: {(info.get('Swarm') or {}).get('LocalNodeState', '')}")
    if info.get("Runtimes"):
        out.append(f" Runtimes: {' '.join(sorted(info['Runtimes']))}")
        out.append(f" Default Runtime: {info.get('DefaultRuntime', '')}")
    out += _linux(info)
    for label, key in (
        (" Kernel Version:", "KernelVersion"),
        (" Operating System:", "OperatingSystem"),
        (" OSType:", "OSType"),
        (" Architecture:", "Architecture"),
    ):
        out += _some(label, info.get(key))
    out += [f" CPUs: {info.get('NCPU', 0)}", f" Total Memory: {bytes_size(info.get('MemTotal', 0))}"]
    out += _some(" Name:", info.get("Name")) + _some(" ID:", info.get("ID"))
    out.append(f" Docker Root Dir: {info.get('DockerRootDir', '')}")
    out += _debug(info, client_debug)
    out += _some(" HTTP Proxy:", info.get("HttpProxy")) + _some(" HTTPS Proxy:", info.get("HttpsProxy"))
    out += _some(" No Proxy:", info.get("NoProxy")) + _some(" Username:", username)
    if info.get("Labels"):
        out += [" Labels:", *(f"  {label}" for label in info["Labels"])]
    out.append(f" Experimental: {_bool(info.get('ExperimentalBuild'))}")
    out += _registries(info)
    out.append(f" Live Restore Enabled: {_bool(info.get('LiveRestoreEnabled'))}")
    out += _some(" Product License:", info.get("ProductLicense"))
    if info.get("DefaultAddressPools"):
        out.append(" Default Address Pools:")
        out += [f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in info["DefaultAddressPools"]]
    if info.get("FirewallBackend"):
        out.append(f" Firewall Backend: {info['FirewallBackend'].get('Driver', '')}")
        out += [f"  {row[0]}: {row[1]}" for row in info["FirewallBackend"].get("Info") or []]
    return out


def _info(cli: Cli, flags: Flags, args: list[str]) -> int:
    client = client_version(cli.client.version) | {"ApiVersion": ""}
    debug = cli.flags.yes("debug")
    if flags.text("format"):
        return _formatted(cli, flags.text("format"), client, debug)
    cli.out(
        f"Client:\n Version:    {client['Version']}\n Context:    {client['Context']}\n Debug Mode: {_bool(debug)}\n"
    )
    cli.out("\nServer:\n")
    try:
        info = cli.client.get("/info")
    except ApiError as error:
        cli.err(f"ERROR: {error.message}\n")
        raise CliError("errors pretty printing info") from None
    username = cli.config.credentials("docker.io").get("username", "") if cli.has_config else ""
    cli.out("\n".join(server_lines(info, username, debug)) + "\n\n")
    for warning in info.get("Warnings") or []:
        cli.err(f"{warning}\n")
    return 0


def _formatted(cli: Cli, format: str, client: dict[str, Any], debug: bool) -> int:
    from ..template import Template, TemplateError
    from ..template.schema import decode

    try:
        template = Template("{{json .}}" if format == "json" else format)
    except TemplateError as error:
        raise CliError(f"template parsing error: {error}", 64) from None
    held = {"ClientInfo": {**client, "Debug": debug, "Plugins": []}}
    info: dict[str, Any] = {}
    problem = ""
    if _needs_server(template, format, held):
        try:
            info = cli.client.get("/info")
        except ApiError as error:
            cli.err(f"{error.message}\n")
            info = {"ServerErrors": [error.message]}
        except CliError as error:
            problem = error.message
    try:
        cli.out(template.render(decode("system.dockerInfo", {**info, **held})) + "\n")
    except TemplateError as error:
        cli.out(f"{error.partial}\n")
        problem = f"{problem}\n{error}" if problem else str(error)
    if problem:
        raise CliError(problem)
    return 0


def _needs_server(template: Any, format: str, held: dict[str, Any]) -> bool:
    """Not where the template can do with what the client knows of itself."""
    from ..template import TemplateError
    from ..template.schema import decode

    fields = [at for at in range(len(format) - 1) if format[at] == "." and format[at + 1].isalpha()]
    if format == "json" or format == "{{json .}}" or not fields:
        return True
    try:
        template.render(decode("system.sparseInfo", held))
    except TemplateError:
        return True
    return False


COMMAND = Command(
    "[OPTIONS]",
    _info,
    most=0,
    aliases=("system info", "info"),
    flags=(Flag("format", "string", INSPECT_FORMAT_HELP, short="f"),),
)
