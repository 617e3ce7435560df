"""The build checks: their names, descriptions and pages as BuildKit has them, and `# check=skip=…;error=true`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sampan.builds.dockerfile.ast import Lines
from sampan.builds.dockerfile.directives import check_of_comment
from sampan.builds.dockerfile.errors import DockerfileError
from sampan.golang import boolean, quote

_PAGES = "https://docs.docker.com/go/dockerfile/rule/"


class Rule(NamedTuple):
    """`experimental`: silent unless asked for."""

    name: str
    description: str
    page: str
    experimental: bool = False

    @property
    def url(self) -> str:
        return f"{_PAGES}{self.page}/" if self.page else ""


class Warning(NamedTuple):
    """One finding. `str()` is the line people see."""

    rule: Rule
    message: str
    lines: Lines

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.message} (line {self.lines.start})"


STAGE_NAME_CASING = Rule("StageNameCasing", "Stage names should be lowercase", "stage-name-casing")
FROM_AS_CASING = Rule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword", "from-as-casing")
NO_EMPTY_CONTINUATION = Rule(
    "NoEmptyContinuation",
    "Empty continuation lines will become errors in a future release",
    "no-empty-continuation",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    "consistent-instruction-casing",
)
DUPLICATE_STAGE_NAME = Rule("DuplicateStageName", "Stage names should be unique", "duplicate-stage-name")
RESERVED_STAGE_NAME = Rule(
    "ReservedStageName", "Reserved words should not be used as stage names", "reserved-stage-name"
)
JSON_ARGS_RECOMMENDED = Rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    "json-args-recommended",
)
MAINTAINER_DEPRECATED = Rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "maintainer-deprecated",
)
UNDEFINED_ARG_IN_FROM = Rule("UndefinedArgInFrom", "FROM command must use declared ARGs", "undefined-arg-in-from")
WORKDIR_RELATIVE_PATH = Rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results "
    "if the base image changes",
    "workdir-relative-path",
)
UNDEFINED_VAR = Rule("UndefinedVar", "Variables should be defined before their use", "undefined-var")
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    "multiple-instructions-disallowed",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    "LegacyKeyValueFormat",
    "Legacy key/value format with whitespace separator should not be used",
    "legacy-key-value-format",
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    "InvalidBaseImagePlatform", "Base image platform does not match expected target platform", ""
)
REDUNDANT_TARGET_PLATFORM = Rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    "redundant-target-platform",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    "SecretsUsedInArgOrEnv",
    "Sensitive data should not be used in the ARG or ENV commands",
    "secrets-used-in-arg-or-env",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    "InvalidDefaultArgInFrom",
    "Default value for global ARG results in an empty or invalid base image name",
    "invalid-default-arg-in-from",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use a constant value",
    "from-platform-flag-const-disallowed",
)
COPY_IGNORED_FILE = Rule(
    "CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore", "copy-ignored-file"
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not "
    "intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    "invalid-definition-description",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    "ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase", "expose-proto-casing"
)
EXPOSE_INVALID_FORMAT = Rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. "
    "This will become an error in a future release",
    "expose-invalid-format",
)
RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))


class Options(NamedTuple):
    """What `# check=` asks for."""

    skip: frozenset[str] = frozenset()
    skip_all: bool = False
    experimental: frozenset[str] = frozenset()
    experimental_all: bool = False
    error: bool = False

    def wants(self, rule: Rule) -> bool:
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not self.skip_all and rule.name not in self.skip

    def merged(self, other: Options) -> Options:
        """For one instruction; whether findings are errors is decided for the whole file."""
        return Options(
            self.skip | other.skip,
            self.skip_all or other.skip_all,
            self.experimental | other.experimental,
            self.experimental_all or other.experimental_all,
            self.error,
        )

    def at(self, comments: Sequence[str]) -> Options:
        """With what a comment `# check=…` right above an instruction adds."""
        for comment in comments:
            said = check_of_comment(comment)
            if said:
                try:
                    return self.merged(parse_options(said))
                except DockerfileError:
                    return self
        return self


def parse_options(text: str) -> Options:
    """`skip=A,B;experimental=all;error=true`. Raises `DockerfileError`."""
    text = text.strip()
    options = Options()
    for part in text.split(";", 2) if text else ():
        key, equals, value = part.partition("=")
        if not equals:
            raise DockerfileError(f"invalid check option {quote(part)}")
        key, value = key.strip(), value.strip()
        names = frozenset(name.strip() for name in value.split(","))
        if key == "skip":
            options = options._replace(skip_all=True) if value == "all" else options._replace(skip=names)
        elif key == "experimental" and value == "all":
            options = options._replace(experimental_all=True)
        elif key == "experimental":
            options = options._replace(experimental=names)
        elif key == "error":
            options = options._replace(error=_boolean(part, value))
        else:
            raise DockerfileError(f"invalid check option {quote(key)}")
    return options


def _boolean(part: str, value: str) -> bool:
    try:
        return boolean(value)
    except ValueError as error:
        raise DockerfileError(f"failed to parse check option {quote(part)}: {error}") from None


class Findings:
    """Collects what the options want to hear."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.warnings: list[Warning] = []

    def add(self, rule: Rule, lines: Lines, message: str, comments: Sequence[str] = ()) -> None:
        """`comments`: those of the instruction, which may silence it."""
        if self.options.at(comments).wants(rule):
            self.warnings.append(Warning(rule, message, lines))
