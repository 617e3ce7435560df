"""What an OCI runtime says when it fails, in Docker's words.

Clients match on the words: the docker CLI exits with 127 on "executable file not found" and "no such file or
directory", with 126 on "permission denied" and "is a directory". runc's wording is Docker's own; crun's is translated
into it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from sampan.errors import SampanError

NOT_A_DIRECTORY_HINT = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)


class StartFailed(SampanError):
    """The container (or exec) could not be started. `exit_code` is what its state shows: 127 command not found, 126
    command cannot be invoked, 128 anything else. `status` is 400 when the request is to blame, 500 otherwise, as in
    dockerd."""

    def __init__(self, message: str, exit_code: int, status: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.status = status  # type: ignore[misc]  # an instance's own, over the class's


def create_failed(reason: str, command: str = "") -> StartFailed:
    """For `create`; `reason` is the runtime's own message, `command` the first word of what was to run."""
    reason = docker_words(reason, "runc create failed: unable to start container process: ", command)
    return _classify(
        f"failed to create task for container: failed to create shim task: OCI runtime create failed: {reason}: unknown"
    )


def start_failed(reason: str) -> StartFailed:
    reason = docker_words(reason, "runc start failed: ")
    return _classify(f"failed to start task: OCI runtime start failed: {reason}: unknown")


def exec_failed(reason: str, command: str = "") -> StartFailed:
    """dockerd 28 tells 127 from 126 for an exec too; before, it reported 126 for all."""
    reason = docker_words(reason, "exec failed: unable to start container process: ", command)
    return _classify(f"OCI runtime exec failed: {reason}: unknown")


def logging_failed(reason: str) -> StartFailed:
    """The log driver cannot reach its server, or its options mean nothing."""
    return _classify(f"failed to create task for container: failed to initialize logging driver: {reason}")


def _classify(message: str) -> StartFailed:
    """dockerd's translateContainerdStartErr."""
    lowered = message.lower()
    exit_code, status = 128, 500
    if "executable file not found" in lowered or "no such file or directory" in lowered:
        exit_code, status = 127, 400
    if "is a directory: unknown" in lowered:
        message, exit_code, status = message + ": permission denied", 126, 400
    elif "permission denied" in lowered:
        exit_code, status = 126, 400
    if "not a directory" in lowered:
        message, exit_code, status = message + NOT_A_DIRECTORY_HINT, 127, 400
    return StartFailed(message, exit_code, status)


_STRERROR = re.compile(r": ([A-Z][a-z]+(?: [a-z]+)*)$")
_CRUN: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"executable file `(?P<name>/.*?)` not found.*"),
        r'exec: "\g<name>": stat \g<name>: no such file or directory',
    ),
    (
        re.compile(r"executable file `(?P<name>.*?)` not found.*"),
        r'exec: "\g<name>": executable file not found in $PATH',
    ),
    (
        re.compile(r"(?:cannot )?open executable(?: `(?P<name>.*)`)?: Permission denied"),
        'exec: "{command}": permission denied',
    ),
    (
        # crun's EPERM for what is no regular file.
        re.compile(r"(?:cannot )?open executable(?: `(?P<name>.*)`)?: Operation not permitted"),
        'exec: "{command}": is a directory',
    ),
    (  # crun 1.15 and later
        re.compile(r"the path `(?P<name>.*)` exists but it is not executable.*"),
        'exec: "{command}": permission denied',
    ),
    (
        re.compile(r"the path `(?P<name>.*)` is not a regular file.*"),
        'exec: "{command}": is a directory',
    ),
    (
        re.compile(r"(?:cannot )?chdir to `(?P<dir>.*?)`: (?P<why>.*)"),
        r'chdir to cwd ("\g<dir>") set in config.json failed: \g<why>',
    ),
)


def docker_words(reason: str, prefix: str, command: str = "") -> str:
    """runc's messages pass; crun's get runc's prefix, wording and Go's lower-case strerror."""
    reason = reason.strip().removeprefix("error executing hook")
    if re.match(r"(runc \w+ failed|exec failed|container_linux\.go)", reason):
        return reason
    for pattern, replacement in _CRUN:
        if (found := pattern.fullmatch(reason)) is not None:
            reason = found.expand(replacement).replace("{command}", found.groupdict().get("name") or command)
            break
    match = _STRERROR.search(reason)
    if match:
        reason = reason[: match.start(1)] + match[1].lower()
    return prefix + reason


class _LogLine(msgspec.Struct):
    msg: str = ""
    level: str = ""


def last_error(log: Path) -> str:
    """The last error in a runtime's `--log-format=json` file; "" when there is none."""
    try:
        lines = log.read_bytes().splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        try:
            found = msgspec.json.decode(line, type=_LogLine)
        except msgspec.DecodeError:
            continue
        if found.level in ("error", "fatal", ""):
            return found.msg
    return ""
