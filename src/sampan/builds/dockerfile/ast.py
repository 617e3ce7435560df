"""What a Dockerfile says, as values.

Words: a *Dockerfile* is *global arguments* (ARG before the first FROM) and *stages*; a *stage* is a base and
*instructions*. Every instruction knows the *lines* it stands on (1-based, both ends included: a heredoc's body
belongs to it), its *code* (the logical line: continuations joined, comments and heredoc bodies left out) and the
*keyword* as it was spelled (`run`, `RUN`).

A walk: `parse()` gives a `Dockerfile` in which every value is still as written (`$VERSION` and quotes included).
`arguments.global_arguments()` evaluates what stands before FROM, `stages.resolve()` names the bases and the edges
between stages, and while a stage is built `substitution.expanded(instruction, environment)` gives each instruction
again with its variables replaced, with the environment as it was *before* that instruction.

All of it is immutable, and equal when it says the same.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing = Literal["shared", "private", "locked"]


class Lines(Struct, frozen=True, array_like=True):
    """Lines of the file, 1-based, both included."""

    start: int
    end: int


class Heredoc(Struct, frozen=True):
    """`<<EOF` with its body. `content` is the body as it stands in the file, line endings and leading tabs included."""

    name: str
    content: bytes
    expand: bool = True  # false when any part of the word was quoted
    chomp: bool = False  # `<<-`: leading tabs go
    descriptor: int = 0

    @property
    def text(self) -> bytes:
        """The body without its leading tabs when the heredoc is `<<-`."""
        if not self.chomp:
            return self.content
        return b"".join(line.lstrip(b"\t") for line in self.content.splitlines(keepends=True))


class InlineFile(Struct, frozen=True):
    """A source of COPY or ADD that stands in the Dockerfile; tabs already chomped. `expand`: variables are replaced.

    `path` is the heredoc's word, whatever it is: only its last component names a file."""

    path: str
    data: bytes
    expand: bool = True


class Pair(Struct, frozen=True):
    """One `key=value` of ENV or LABEL. `legacy`: written `KEY value`."""

    key: str
    value: str
    legacy: bool = False

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


class ArgDefinition(Struct, frozen=True):
    """One name of ARG. `value` is None without a default; `description` comes from a comment `# NAME text` above."""

    key: str
    value: str | None = None
    description: str = ""


class Mount(Struct, frozen=True, kw_only=True):
    """One `RUN --mount`. Which keys each type takes: `mounts.parse_mount`."""

    type: MountType = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = True
    size: int = 0  # bytes; tmpfs
    id: str = ""  # of a cache, secret or ssh agent
    sharing: Sharing | Literal[""] = ""  # cache; "" means shared
    required: bool = False
    env: str | None = None  # secret as environment variable
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class MountFlag(Struct, frozen=True):
    """`--mount=text` as written. `from_` stands apart because it may not hold variables: the graph needs it early."""

    text: str
    from_: str = ""


class Device(Struct, frozen=True):
    """One `RUN --device`: a CDI name."""

    name: str = ""
    required: bool = False


class Instruction(Struct, frozen=True, kw_only=True):
    name: ClassVar[str] = ""

    keyword: str
    code: str
    lines: Lines
    comments: tuple[str, ...] = ()  # the comment lines right above, without `#`


class Add(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "ADD"

    sources: tuple[str, ...]
    files: tuple[InlineFile, ...] = ()
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    keep_git_dir: bool | None = None  # None: not said
    checksum: str = ""
    unpack: bool | None = None  # None: local archives yes, remote ones no


class Copy(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "COPY"

    sources: tuple[str, ...]
    files: tuple[InlineFile, ...] = ()
    destination: str
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    parents: bool = False


class Arg(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "ARG"

    arguments: tuple[ArgDefinition, ...]


class CommandLine(Instruction, frozen=True, kw_only=True):
    """CMD, ENTRYPOINT, RUN. Shell form: `shell` is true and `command` one string, or empty when nothing was written."""

    command: tuple[str, ...]
    shell: bool


class Cmd(CommandLine, frozen=True, kw_only=True):
    name: ClassVar[str] = "CMD"


class Entrypoint(CommandLine, frozen=True, kw_only=True):
    name: ClassVar[str] = "ENTRYPOINT"


class Run(CommandLine, frozen=True, kw_only=True):
    """`mounts` is empty until `substitution.expanded()` makes it from `mount_flags`: their values may be variables."""

    name: ClassVar[str] = "RUN"

    heredocs: tuple[Heredoc, ...] = ()
    mount_flags: tuple[MountFlag, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: Literal["default", "none", "host"] = "default"
    security: Literal["sandbox", "insecure"] = "sandbox"
    devices: tuple[Device, ...] = ()
    flags_used: tuple[str, ...] = ()


class Env(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "ENV"

    pairs: tuple[Pair, ...]


class Label(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "LABEL"

    pairs: tuple[Pair, ...]


class Expose(Instruction, frozen=True, kw_only=True):
    """`ports` as written, sorted. After expansion `ports.exposed_ports` makes `80/tcp` of them."""

    name: ClassVar[str] = "EXPOSE"

    ports: tuple[str, ...]


class Healthcheck(Instruction, frozen=True, kw_only=True):
    """Nanoseconds, 0 for the default (interval and timeout 30s, start period 0s, start interval 5s, retries 3)."""

    name: ClassVar[str] = "HEALTHCHECK"

    test: tuple[str, ...]  # ("NONE",), ("CMD", …) or ("CMD-SHELL", text)
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Maintainer(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "MAINTAINER"

    maintainer: str


class Onbuild(Instruction, frozen=True, kw_only=True):
    """`expression` is what goes into the image's OnBuild, heredocs included. `parser.parse_trigger` reads it again."""

    name: ClassVar[str] = "ONBUILD"

    expression: str


class Shell(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "SHELL"

    shell: tuple[str, ...]


class StopSignal(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "STOPSIGNAL"

    signal: str


class User(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "USER"

    user: str


class Volume(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "VOLUME"

    volumes: tuple[str, ...]


class Workdir(Instruction, frozen=True, kw_only=True):
    name: ClassVar[str] = "WORKDIR"

    path: str


class Stage(Struct, frozen=True, kw_only=True):
    """`name` is lower case, "" for `FROM x` without AS; `base` and `platform` are as written, variables included."""

    base: str
    name: str = ""
    platform: str = ""
    keyword: str = "FROM"
    code: str = ""
    lines: Lines
    comments: tuple[str, ...] = ()
    description: str = ""  # from a comment `# name text` above
    as_keyword: str = ""  # as spelled; "" without
    name_as_written: str = ""
    instructions: tuple[Instruction, ...] = ()


class Directive(Struct, frozen=True):
    """`# syntax=…`, `# escape=…`, `# check=…` at the top of the file."""

    name: str
    value: str
    line: int


class Dockerfile(Struct, frozen=True, kw_only=True):
    """`global_arguments` are the ARGs before the first FROM. There is at least one stage."""

    name: str
    source: bytes
    escape: str = "\\"
    directives: tuple[Directive, ...] = ()
    global_arguments: tuple[Arg, ...] = ()
    stages: tuple[Stage, ...] = ()
    empty_continuations: tuple[int, ...] = ()  # last lines of instructions that have an empty continuation line

    def directive(self, name: str) -> str:
        """The value of `# name=value`, "" without."""
        return next((directive.value for directive in self.directives if directive.name == name), "")
