"""The command tree: every name, where its module is, and its one line in `--help`.

A table of strings, so that `sampan ps` imports `cli.container.ps` and nothing of the other commands. `find` walks
the words of a command line; `load` imports a command's module, which holds a `Command`.

A `Command` is used under each of its spellings (`sampan rm`, `sampan container rm`, `sampan container remove`).
Its `run(cli, flags, args)` gets the parsed flags and the positional arguments and returns the exit code; failures
are raised as `errors.CliError`.
"""

from __future__ import annotations

from .errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .flags import Flag, Flags
    from .session import Cli

PROGRAM = "sampan"

MANY = 1 << 30
"""As `Command.most`: any number of arguments."""


class Command:
    """One command: its usage after the name, its flags, how many arguments it takes, and what it does.

    `usage` is what follows the command's own name in the usage line. `aliases` are the full spellings without the
    program's name, in the order `--help` lists them; none when there is only one.
    """

    __slots__ = ("aliases", "flags", "interspersed", "least", "long", "most", "run", "usage")

    def __init__(
        self,
        usage: str,
        run: Callable[[Cli, Flags, list[str]], int],
        *,
        flags: Sequence[Flag] = (),
        least: int = 0,
        most: int = MANY,
        interspersed: bool = True,
        aliases: Sequence[str] = (),
        long: str = "",
    ) -> None:
        self.usage = usage
        self.run = run
        self.flags = flags
        self.least = least
        self.most = most
        self.interspersed = interspersed
        self.aliases = aliases
        self.long = long

    def check(self, path: str, count: int) -> None:
        """Refuse a wrong number of arguments in docker's words (exit 1, not 125)."""
        if self.least <= count <= self.most:
            return
        hint = "Run"
        if self.most == 0:
            problem = "accepts no arguments"
        elif self.least == self.most:
            problem = f"requires {_arguments(self.least)}"
        elif self.most == MANY:
            problem, hint = f"requires at least {_arguments(self.least)}", "See"
        elif self.least == 0:
            problem = f"requires at most {_arguments(self.most)}"
        else:
            problem = f"requires at least {self.least} and at most {_arguments(self.most)}"
        raise CliError(
            f"{PROGRAM}: '{path}' {problem}\n\nUsage:  {self.usage_line(path)}\n\n"
            f"{hint} '{path} --help' for more information"
        )

    def usage_line(self, path: str) -> str:
        return f"{path} {self.usage}".rstrip()


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"


# name -> (module below sampan.cli, and the attribute after ":" when it is not COMMAND; one line of help)
TOP: dict[str, tuple[str, str]] = {
    "attach": ("container.attach", "Attach local standard input, output, and error streams to a running container"),
    "build": ("image.build", "Build an image from a Dockerfile"),
    "commit": ("container.commit", "Create a new image from a container's changes"),
    "cp": ("container.cp", "Copy files/folders between a container and the local filesystem"),
    "create": ("container.create", "Create a new container"),
    "diff": ("container.diff", "Inspect changes to files or directories on a container's filesystem"),
    "events": ("system.events", "Get real time events from the server"),
    "exec": ("container.exec", "Execute a command in a running container"),
    "export": ("container.export", "Export a container's filesystem as a tar archive"),
    "history": ("image.history", "Show the history of an image"),
    "images": ("image.ls:IMAGES", "List images"),
    "import": ("image.import_", "Import the contents from a tarball to create a filesystem image"),
    "info": ("system.info", "Display system-wide information"),
    "inspect": ("system.inspect", "Return low-level information on Docker objects"),
    "kill": ("container.kill", "Kill one or more running containers"),
    "load": ("image.load", "Load an image from a tar archive or STDIN"),
    "login": ("registry.login", "Authenticate to a registry"),
    "logout": ("registry.logout", "Log out from a registry"),
    "logs": ("container.logs", "Fetch the logs of a container"),
    "pause": ("container.pause:PAUSE", "Pause all processes within one or more containers"),
    "port": ("container.port", "List port mappings or a specific mapping for the container"),
    "ps": ("container.ps", "List containers"),
    "pull": ("image.pull", "Download an image from a registry"),
    "push": ("image.push", "Upload an image to a registry"),
    "rename": ("container.rename", "Rename a container"),
    "restart": ("container.stop:RESTART", "Restart one or more containers"),
    "rm": ("container.rm", "Remove one or more containers"),
    "rmi": ("image.rm:RMI", "Remove one or more images"),
    "run": ("container.run", "Create and run a new container from an image"),
    "save": ("image.save", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "search": ("registry.search", "Search Docker Hub for images"),
    "start": ("container.start", "Start one or more stopped containers"),
    "stats": ("container.stats", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("container.stop:STOP", "Stop one or more running containers"),
    "tag": ("image.tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "top": ("container.top", "Display the running processes of a container"),
    "unpause": ("container.pause:UNPAUSE", "Unpause all processes within one or more containers"),
    "update": ("container.update", "Update configuration of one or more containers"),
    "version": ("system.version", "Show the Sampan version information"),
    "wait": ("container.wait", "Block until one or more containers stop, then print their exit codes"),
}

COMMON = (
    *("run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search"),
    *("version", "info"),
)
"""The commands that top-level help lists first, in docker's order."""

_SAME_IN_CONTAINER = (
    "attach commit cp create diff exec export kill logs pause port rename restart rm run "
    "start stats stop top unpause update wait"
)

GROUPS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "builder": (
        "Manage builds",
        {"build": TOP["build"], "prune": ("builder.prune", "Remove build cache")},
    ),
    "container": (
        "Manage containers",
        {name: TOP[name] for name in _SAME_IN_CONTAINER.split()}
        | {
            "inspect": ("container.inspect", "Display detailed information on one or more containers"),
            "ls": ("container.ps", "List containers"),
            "prune": ("container.prune", "Remove all stopped containers"),
        },
    ),
    "image": (
        "Manage images",
        {name: TOP[name] for name in ("build", "history", "import", "load", "pull", "push", "save", "tag")}
        | {
            "inspect": ("image.inspect", "Display detailed information on one or more images"),
            "ls": ("image.ls:LS", "List images"),
            "prune": ("image.prune", "Remove unused images"),
            "rm": ("image.rm:RM", "Remove one or more images"),
        },
    ),
    "network": (
        "Manage networks",
        {
            "connect": ("network.connect", "Connect a container to a network"),
            "create": ("network.create", "Create a network"),
            "disconnect": ("network.disconnect", "Disconnect a container from a network"),
            "inspect": ("network.inspect", "Display detailed information on one or more networks"),
            "ls": ("network.ls", "List networks"),
            "prune": ("network.prune", "Remove all unused networks"),
            "rm": ("network.rm", "Remove one or more networks"),
        },
    ),
    "registry": (
        "Manage a registry of your own",
        {"serve": ("registry.serve", "Serve a registry (OCI distribution-spec 1.1)")},
    ),
    "system": (
        "Manage Sampan",
        {
            "df": ("system.df", "Show disk usage"),
            "events": TOP["events"],
            "info": TOP["info"],
            "prune": ("system.prune", "Remove unused data"),
        },
    ),
    "volume": (
        "Manage volumes",
        {
            "create": ("volume.create", "Create a volume"),
            "export": ("volume.export", "Export a volume's content as a tar archive"),
            "import": ("volume.import_", "Import a tar archive into a volume"),
            "inspect": ("volume.inspect", "Display detailed information on one or more volumes"),
            "ls": ("volume.ls", "List volumes"),
            "prune": ("volume.prune", "Remove unused local volumes"),
            "rm": ("volume.rm", "Remove one or more volumes"),
            "update": ("volume.update", "Update a volume (cluster volumes only)"),
        },
    ),
}

OTHER_NAMES: dict[str, dict[str, str]] = {
    "container": {"list": "ls", "ps": "ls", "remove": "rm"},
    "image": {"list": "ls", "remove": "rm"},
    "network": {"list": "ls", "remove": "rm"},
    "volume": {"list": "ls", "remove": "rm"},
}
"""Within a group: other accepted spellings."""


def load(where: str) -> Command:
    """The `Command` named by a table entry ("container.stop:RESTART")."""
    module, _, attribute = where.partition(":")
    name = f"sampan.cli.{module}"
    found = __import__(name, fromlist=["COMMAND"])
    command: Command = getattr(found, attribute or "COMMAND")
    return command
