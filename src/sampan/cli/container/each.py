"""Doing one thing to several containers: print each name that worked, gather the errors of those that did not."""

from __future__ import annotations

from ..errors import ApiError, CliError
from ..http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..session import Cli


def for_each(cli: Cli, names: Sequence[str], act: Callable[[str], object]) -> int:
    """Call `act` with each name, ready for a path; errors of the daemon are told together at the end (exit 1)."""
    problems = []
    for name in names:
        try:
            act(quote(name))
        except ApiError as error:
            problems.append(error.message)
        else:
            cli.out(f"{name}\n")
    if problems:
        raise CliError("\n".join(problems))
    return 0
