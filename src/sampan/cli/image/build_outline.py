"""`build --call outline` and `--call targets`, drawn as buildx draws them."""

from __future__ import annotations

import sys

from ..tabs import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def show(method: str, found: dict[str, Any], as_json: bool) -> None:
    """On stdout."""
    if as_json:
        from json import dumps

        sys.stdout.write(dumps(found, indent=2) + "\n")
        return
    sys.stdout.write(_targets(found) if method == "targets" else _outline(found))


def _table(rows: list[str], padding: int = 3) -> str:
    return align("\n".join(rows), least=0, padding=padding) + "\n"


def _targets(found: dict[str, Any]) -> str:
    rows = ["TARGET\tDESCRIPTION"]
    for one in found.get("targets", []):
        name = one.get("name", "")
        if one.get("default"):
            name = f"{name} (default)" if name else "(default)"
        rows.append(f"{name}\t{one.get('description', '')}")
    return _table(rows)


def _outline(found: dict[str, Any]) -> str:
    parts = []
    if found.get("name") or found.get("description"):
        rows = [f"TARGET:\t{found.get('name') or '(default)'}"]
        rows += [f"DESCRIPTION:\t{found['description']}"] if found.get("description") else []
        parts.append(_table(rows, 2))
    if found.get("args"):
        rows = [f"{one['name']}\t{one.get('value', '')}\t{one.get('description', '')}" for one in found["args"]]
        parts.append(_table(["BUILD ARG\tVALUE\tDESCRIPTION", *rows]))
    for key, head in (("secrets", "SECRET"), ("ssh", "SSH")):
        if found.get(key):
            rows = [f"{one['name']}\t{'true' if one.get('required') else ''}" for one in found[key]]
            parts.append(_table([f"{head}\tREQUIRED", *rows]))
    return "\n".join(parts)
