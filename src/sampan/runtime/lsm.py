"""AppArmor and SELinux, where the host's kernel has them: what a container's `--security-opt` sets in the OCI process.

On hosts without the module the options change nothing, as with dockerd. No AppArmor profile is loaded by the engine
(Docker's `docker-default` is Docker's own): without the option a container runs unconfined by AppArmor, and seccomp,
capabilities and masked paths are what confines it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from sampan.errors import InvalidParameter

_FIELDS = ("user", "role", "type", "level")
_CONTEXT = re.compile(r'^\s*(process|file)\s*=\s*"([^"]+)"', re.MULTILINE)


@functools.cache
def has_apparmor(root: Path = Path("/sys/module/apparmor")) -> bool:
    try:
        return (root / "parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False


@functools.cache
def has_selinux(root: Path = Path("/sys/fs/selinux")) -> bool:
    """selinuxfs is mounted only where SELinux is on."""
    return (root / "enforce").exists()


def apparmor_profile(wanted: str) -> str:
    """`process.apparmorProfile`; "" for none. The kernel refuses one that is not loaded; the start says so."""
    return wanted if has_apparmor() else ""


def selinux_labels(options: Sequence[str], contexts: Path | None = None) -> tuple[str, str]:
    """(`process.selinuxLabel`, `linux.mountLabel`) of `--security-opt label=…`: the policy's container context with the
    given parts changed. ("", "") without such options, with `disable`, or without SELinux, where dockerd does not look
    at them either. Raises `InvalidParameter`."""
    if not has_selinux():
        return "", ""
    chosen: dict[str, str] = {}
    for option in options:
        name, colon, value = option.partition(":")
        if option in ("disable", "nested"):
            continue
        if not colon or name not in (*_FIELDS, "filetype"):
            raise InvalidParameter(
                f"bad label option \"{option}\", valid options 'disable, nested' or \n"
                "'user, role, level, type, filetype' followed by ':' and a value"
            )
        chosen[name] = value
    if not chosen or "disable" in options:
        return "", ""
    found = dict(_CONTEXT.findall(_text(contexts or _contexts())))
    if len(found) < 2:
        raise InvalidParameter("the SELinux policy of this host has no lxc_contexts for containers")
    file = {"type": chosen["filetype"]} if "filetype" in chosen else {}
    file |= {"level": chosen["level"]} if "level" in chosen else {}
    return _changed(found["process"], chosen), _changed(found["file"], file)


def _changed(label: str, parts: dict[str, str]) -> str:
    words = dict(zip(_FIELDS, label.split(":", 3), strict=False))
    words |= {name: value for name, value in parts.items() if name in _FIELDS}
    return ":".join(words[name] for name in _FIELDS if name in words)


def _contexts() -> Path:
    kind = re.search(r"^SELINUXTYPE=(\w+)", _text(Path("/etc/selinux/config")), re.MULTILINE)
    return Path("/etc/selinux") / (kind[1] if kind else "targeted") / "contexts/lxc_contexts"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
