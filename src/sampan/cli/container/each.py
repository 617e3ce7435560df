"""Doing one thing to several containers at once: print the names that worked, gather the errors of the others."""

from __future__ import annotations

from ..errors import CliError
from ..http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..http import Query
    from ..session import Cli


def for_each(
    cli: Cli, names: Sequence[str], method: str, verb: str, query: Query | None = None, problems: Sequence[str] = ()
) -> int:
    """Send `method` /containers/NAME`verb` for every name, all at the same time, and tell of them in order.

    Errors are told together at the end, after the `problems` that were found before (exit 1).
    """
    found = list(problems)
    calls = [(method, f"/containers/{quote(name.strip('/'), '/')}{verb}", query) for name in names]
    for name, error in zip(names, cli.client.in_parallel(calls), strict=True):
        if error is None:
            cli.out(f"{name}\n")
        else:
            found.append(error.message)
    if found:
        raise CliError("\n".join(found))
    return 0
