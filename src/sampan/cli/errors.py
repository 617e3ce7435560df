"""What a command can fail with, and what the person sees.

::

    CliError                   printed as it is; `code` is the exit code (0 or "" print nothing special)
    ├── UsageError             a flag that cannot be parsed: exit 125, with the usage line
    ├── Unreachable            no daemon behind the socket: exit 1
    └── ApiError               the daemon said no: "Error response from daemon: …", exit 1

`sampan run`, `create` and `start` turn these into their own exit codes (125, 126, 127).
"""

from __future__ import annotations


class CliError(Exception):
    """A failure told to the person in one message; an empty message only sets the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class UsageError(CliError):
    """The command line cannot be parsed; exit 125 as docker's, whatever the command."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 125)


class Unreachable(CliError):
    """Nothing answers on the daemon's socket."""


class ApiError(CliError):
    """The daemon answered with an error; `status` is the HTTP status, `reason` its bare message."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"Error response from daemon: {reason}")
        self.status = status
        self.reason = reason
