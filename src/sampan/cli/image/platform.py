"""`--platform os[/arch[/variant]]` as the API's parameter."""

from __future__ import annotations

from sampan.golang import quote

from ..errors import CliError
from ..wire import dumps

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm",
    "i386": "386", "i686": "386",
}  # fmt: skip
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def encoded(platform: str, wrap: str = "invalid platform: ") -> str | None:
    """The JSON of a platform, None for ""; CliError, its message begun with `wrap`, for what is none."""
    if not platform:
        return None
    parts = platform.split("/")
    for part in parts:
        if not part or not all(char in _WORD for char in part):
            raise CliError(
                f"{wrap}{quote(part)} is an invalid component of {quote(platform)}: platform specifier component must "
                'match "^[A-Za-z0-9_.-]+$": invalid argument'
            )
    if len(parts) > 3:
        raise CliError(f"{wrap}{quote(platform)}: cannot parse platform specifier: invalid argument")
    if len(parts) == 1:
        raise CliError(
            f"{wrap}{quote(platform)}: unknown operating system or architecture: invalid argument"
            if parts[0] not in ("linux", "windows", "darwin", "freebsd")
            else f"{wrap}{quote(platform)}: name the architecture too, as in {parts[0]}/amd64"
        )
    architecture = parts[1].lower()
    found = {"architecture": _ARCHITECTURES.get(architecture, architecture), "os": parts[0].lower()}
    if len(parts) == 3 and (found["architecture"], parts[2]) not in (("arm64", "v8"), ("amd64", "v1")):
        found["variant"] = parts[2]
    elif len(parts) == 2 and found["architecture"] == "arm":
        found["variant"] = {"armel": "v6"}.get(architecture, "v7")
    return dumps(found)
