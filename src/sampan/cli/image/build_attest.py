"""`build --attest`, `--provenance`, `--sbom`.

Source: buildx util/buildflags/attests.go.
"""

from __future__ import annotations

from ..csvline import fields
from ..errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..flags import Flags

_FALSE = ("0", "f", "false", "F", "FALSE", "False")
_TRUE = ("1", "t", "true", "T", "TRUE", "True")


def provenance(flags: Flags) -> str:
    """min, max, or "" for none: the default, which keeps images reproducible. Raises `CliError`."""
    wanted: dict[str, dict[str, str]] = {}
    for text in flags.many("attest"):
        values = _values(text)
        kind = values.pop("type", "")
        if not kind:
            raise CliError(f"ERROR: attestation type not specified: {text}")
        if kind in wanted:
            raise CliError(f"ERROR: duplicate attestation field {kind}")
        wanted[kind] = values
    for kind in ("provenance", "sbom"):
        if given := flags.many(kind):
            text = given[-1]
            wanted[kind] = {"disabled": str(text in _FALSE).lower()} if text in (*_FALSE, *_TRUE) else _values(text)
    found = ""
    for kind, values in wanted.items():
        if values.pop("disabled", "false") in _TRUE:
            continue
        if kind == "sbom":
            raise CliError("ERROR: --sbom is not supported: there is no scanner for it; --provenance is")
        if kind != "provenance":
            raise CliError(f"ERROR: attestation type {kind} is not supported")
        found = _mode(values)
    return found


def _mode(values: dict[str, str]) -> str:
    mode, version = values.pop("mode", "min"), values.pop("version", "v1")
    values.pop("type", None)
    if mode not in ("min", "max"):
        raise CliError(f"ERROR: invalid provenance mode {mode}: there are min and max")
    if version != "v1":
        raise CliError(f"ERROR: provenance version={version} is not supported: it is SLSA's v1")
    if values:
        raise CliError(f"ERROR: --provenance {', '.join(sorted(values))} is not supported")
    return mode


def _values(text: str) -> dict[str, str]:
    found = {}
    for part in fields(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise CliError(f"ERROR: invalid value {part}")
        found[key.strip().lower()] = value
    return found
