"""Build checks: each rule where it speaks, where it does not, and how it is silenced."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sampan.builds.dockerfile.checks import Report, examine
from sampan.builds.dockerfile.rules import RULES, parse_options
from sampan.builds.dockerfile.stage_checks import BaseFacts
from sampan.builds.ignore import Ignore
from sampan.images.model import Platform

AMD64 = Platform(os="linux", architecture="amd64")
PATH = {"PATH": "/bin"}
KNOWN = BaseFacts(PATH, platform=AMD64)


def report(
    text: str,
    *,
    stage: str = "",
    given: Mapping[str, str] | None = None,
    facts: BaseFacts | None = KNOWN,
    ignore: Ignore | None = None,
) -> Report:
    return examine(
        text.encode(),
        stage=stage,
        given=given or {},
        target=AMD64,
        build=AMD64,
        facts=lambda index: facts,
        ignore=ignore,
        all_stages=not stage,
    )


def found(text: str) -> list[str]:
    return [str(warning) for warning in report(text).warnings]


def test_there_are_22_rules_with_pages() -> None:
    assert len({rule.name for rule in RULES}) == 22
    assert {rule.name for rule in RULES if not rule.url} == {"InvalidBaseImagePlatform"}
    assert RULES[0].url == "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("FROM a AS Base", ["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"]),
        ("FROM a as b", ["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]),
        ("FROM a\nRUN b \\\n\n c\nRUN d", ["NoEmptyContinuation: Empty continuation line (line 4)"]),
        (
            "FROM a\nRun b\nRUN c",
            [
                "ConsistentInstructionCasing: Command 'Run' should match the case of the command majority "
                "(uppercase) (line 2)"
            ],
        ),
        (
            "from a\nrun b\nUSER c",
            [
                "ConsistentInstructionCasing: Command 'USER' should match the case of the command majority "
                "(lowercase) (line 3)"
            ],
        ),
        (
            "FROM a AS x\nFROM b AS x",
            ['DuplicateStageName: Duplicate stage name "x", stage names should be unique (line 2)'],
        ),
        (
            "FROM a AS scratch\nFROM b AS context",
            [
                'ReservedStageName: Stage name should not use the same name as reserved stage "scratch" (line 1)',
                'ReservedStageName: Stage name should not use the same name as reserved stage "context" (line 2)',
            ],
        ),
        (
            "FROM a\nCMD x",
            [
                "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS "
                "signals (line 2)"
            ],
        ),
        ('FROM a\nSHELL ["/bin/bash", "-c"]\nCMD x\nENTRYPOINT y', []),
        (
            "FROM a\nMAINTAINER me",
            ["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"],
        ),
        (
            "ARG tag=1\nFROM a:${tga}1",
            ["UndefinedArgInFrom: FROM argument 'tga' is not declared (did you mean tag?) (line 2)"],
        ),
        (
            "FROM a\nWORKDIR x\nWORKDIR y",
            [
                'WorkdirRelativePath: Relative workdir "x" can have unexpected results if the base image changes '
                "(line 2)"
            ],
        ),
        ("FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y", []),
        (
            "FROM a\nENV FOOD=1\nCOPY $FOO $BARBAR/ $PATH/",
            [
                "UndefinedVar: Usage of undefined variable '$FOO' (did you mean $FOOD?) (line 3)",
                "UndefinedVar: Usage of undefined variable '$BARBAR' (line 3)",
            ],
        ),
        ("FROM a\nARG later\nCOPY x$later /", []),
        ("FROM a AS b\nARG inherited=1\nFROM b\nCOPY $inherited /", []),
        (
            'FROM a\nCMD ["x"]\nCMD ["y"]',
            [
                "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage "
                "because only the last one will be used (line 2)"
            ],
        ),
        ('FROM a AS b\nCMD ["x"]\nFROM b\nCMD ["y"]', []),
        (
            "FROM a\nENV x y\nlabel z w\nUSER u",
            [
                "ConsistentInstructionCasing: Command 'label' should match the case of the command majority "
                "(uppercase) (line 3)",
                'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format '
                "(line 2)",
                'LegacyKeyValueFormat: "label key=value" should be used instead of legacy "label key value" format '
                "(line 3)",
            ],
        ),
        (
            "FROM --platform=$TARGETPLATFORM a",
            [
                "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this "
                "is the default behavior (line 1)"
            ],
        ),
        (
            "FROM a\nARG GITHUB_TOKEN\nENV my_password=x PUBLIC_KEY=y password_file=z",
            [
                'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "GITHUB_TOKEN") '
                "(line 2)",
                'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "my_password") '
                "(line 3)",
            ],
        ),
        (
            "FROM --platform=linux/amd64 a",
            [
                'FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64" '
                "(line 1)"
            ],
        ),
        ("FROM --platform=linux/amd64 a AS amd64-only", []),
        (
            "FROM a\nEXPOSE 80/TCP 1:2",
            [
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found "
                "'1:2' (line 2)",
                "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
            ],
        ),
    ],
)
def test_rules(text: str, warnings: list[str]) -> None:
    assert found(text) == warnings


def test_default_arguments_must_make_a_base() -> None:
    warnings = report("ARG V\nFROM a:$V", given={"V": "1"}).warnings
    assert [str(warning) for warning in warnings] == [
        "InvalidDefaultArgInFrom: Default value for ARG a:$V results in empty or invalid base image name (line 2)"
    ]


def test_descriptions_are_checked_when_asked_for() -> None:
    text = "# x\nARG a b\n# base is fine\nFROM s AS base\n# other\nARG c"
    assert found(text) == []
    assert found(f"# check=experimental=all\n{text}") == [
        "InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>` (line 3)",
        "InvalidDefinitionDescription: Comment for ARG should follow the format: `# c <description>` (line 7)",
    ]


def test_ignored_files_are_told_unless_there_are_exceptions() -> None:
    text = "FROM a\nCOPY node_modules x /\nADD ./node_modules/y https://x/node_modules /\nCOPY . /"
    warnings = report(text, ignore=Ignore(["node_modules"])).warnings
    assert [str(warning) for warning in warnings] == [
        'CopyIgnoredFile: Attempting to Copy file "node_modules" that is excluded by .dockerignore (line 2)',
        'CopyIgnoredFile: Attempting to Add file "node_modules/y" that is excluded by .dockerignore (line 3)',
    ]
    assert report(text, ignore=Ignore(["node_modules", "!x"])).warnings == []
    assert [warning.lines.start for warning in report("FROM a\nCOPY . /", ignore=Ignore(["*"])).warnings] == [2]


def test_a_base_of_another_platform_is_told() -> None:
    facts = BaseFacts(PATH, platform=Platform(os="linux", architecture="arm64"))
    (warning,) = report("FROM a:1", facts=facts).warnings
    assert str(warning) == (
        'InvalidBaseImagePlatform: Base image a:1 was pulled with platform "linux/arm64", expected "linux/amd64" '
        "for current build (line 1)"
    )


def test_nothing_is_said_of_variables_of_a_base_that_is_not_known() -> None:
    assert report("FROM a\nCOPY $HOME /", facts=None).warnings == []


def test_triggers_of_the_base_are_walked_first() -> None:
    facts = BaseFacts(PATH, on_build=("ENV FROM_TRIGGER=1", "COPY $nowhere /"))
    assert [str(warning) for warning in report("FROM a\n\nCOPY $FROM_TRIGGER /", facts=facts).warnings] == [
        "UndefinedVar: Usage of undefined variable '$nowhere' (line 1)"
    ]


def test_only_stages_of_the_target_are_walked() -> None:
    text = "FROM a AS one\nCMD x\nFROM a AS two\nCMD y"
    assert [warning.lines.start for warning in report(text, stage="one").warnings] == [2]


def test_rules_are_skipped_for_the_file_or_for_one_instruction() -> None:
    text = "FROM a as B\nENV key=1\n# check=skip=SecretsUsedInArgOrEnv // that one is public\nENV token=2\nENV token=3"
    names = [warning.rule.name for warning in report(text).warnings]
    assert names == ["StageNameCasing", "FromAsCasing", "SecretsUsedInArgOrEnv", "SecretsUsedInArgOrEnv"]
    assert [
        warning.lines.start for warning in report(f"# check=skip=FromAsCasing,StageNameCasing\n{text}").warnings
    ] == [
        3,
        6,
    ]
    assert report(f"# check=skip=all\n{text}").warnings == []
    assert report(text, given={"BUILDKIT_DOCKERFILE_CHECK": "skip=all"}).warnings == []


def test_findings_can_be_errors() -> None:
    error = report("# check=error=true\nFROM a as b").error
    assert error is not None
    assert error.message == "lint violation found for rules: FromAsCasing"
    assert report("# check=error=true\nFROM a AS b").error is None


def test_wrong_options_are_told() -> None:
    error = report("# check=frobnicate\nFROM a").error
    assert error is not None
    assert error.message == 'failed to parse check options: invalid check option "frobnicate"'
    assert parse_options("skip= A , B ;error=TRUE").skip == {"A", "B"}


def test_findings_before_a_mistake_are_kept() -> None:
    examined = report("FROM a as B\nMAINTAINER me\nNONSENSE")
    assert [warning.rule.name for warning in examined.warnings] == [
        "StageNameCasing",
        "FromAsCasing",
        "MaintainerDeprecated",
    ]
    assert examined.error is not None
    assert examined.error.message == "dockerfile parse error on line 3: unknown instruction: NONSENSE"


def test_findings_before_a_base_that_cannot_be_are_kept() -> None:
    examined = report("FROM --platform=$TARGETPLATFORM a AS ok\nFROM --platform=$PLTAFORM b")
    assert [warning.rule.name for warning in examined.warnings] == ["RedundantTargetPlatform", "UndefinedArgInFrom"]
    assert examined.error is not None
