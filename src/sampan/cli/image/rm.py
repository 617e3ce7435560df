"""`rmi`, `image rm`."""

from __future__ import annotations

from ..commands import Command
from ..errors import ApiError, CliError
from ..flags import Flag
from ..http import quote as escape
from .platform import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags
    from ..session import Cli


def _remove(cli: Cli, flags: Flags, names: list[str]) -> int:
    platforms = [text for text in (encoded(item, "") for item in flags.many("platform")) if text]
    query = {
        "force": 1 if flags.yes("force") else None,
        "noprune": 1 if flags.yes("no-prune") else None,
        "platforms": platforms or None,
    }
    problems: list[ApiError] = []
    for name in names:
        try:
            removed = cli.client.delete(f"/images/{escape(name, safe='/:@')}", query) or []
        except ApiError as error:
            problems.append(error)
            continue
        for item in removed:
            if item.get("Deleted"):
                cli.out(f"Deleted: {item['Deleted']}\n")
            else:
                cli.out(f"Untagged: {item.get('Untagged', '')}\n")
    if problems:
        text = "\n".join(error.message for error in problems)
        if not flags.yes("force") or any(error.status != 404 for error in problems):
            raise CliError(text)
        cli.err(f"{text}\n")
    return 0


_FLAGS = (
    Flag("force", "bool", "Force removal of the image", short="f"),
    Flag("no-prune", "bool", "Do not delete untagged parents"),
    Flag(
        "platform",
        "strings",
        'Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
        parse=lambda text: text.split(","),
    ),
)
_ALIASES = ("image rm", "image remove", "rmi")
RMI = Command("[OPTIONS] IMAGE [IMAGE...]", _remove, least=1, flags=_FLAGS, aliases=_ALIASES)
RM = Command("[OPTIONS] IMAGE [IMAGE...]", _remove, least=1, flags=_FLAGS, aliases=_ALIASES)
