"""`docker top`: the host's view of a container's processes, as `ps` prints it.

Docker runs the host's `ps` and keeps the lines whose PID is the container's. With the default arguments (-ef) the same
columns are read from /proc instead: no process to start, and no procps needed on the host.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.errors import InvalidParameter, SampanError

TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Processes:
    """`GET /containers/{id}/top`."""

    titles: list[str]
    rows: list[list[str]]


async def top(pids: Sequence[int], ps_args: str = "") -> Processes:
    """The processes, by pid. Raises `InvalidParameter` or `SampanError` with what `ps` says."""
    if ps_args in ("", "-ef"):
        rows = [row for pid in sorted(pids) if (row := _row(pid)) is not None]
        return Processes(list(TITLES), rows)
    _check(ps_args)
    return parse(await _ps(ps_args, pids), set(pids))


def _check(ps_args: str) -> None:
    """No renamed column may pose as the PID that lines are chosen by."""
    for key, value in re.findall(r"\s+(\S*)=\s*(PID\S*)", ps_args):
        if key != "pid":
            raise InvalidParameter(f'specifying "{key}={value}" is not allowed')


async def _ps(ps_args: str, pids: Sequence[int]) -> str:
    words = ps_args.split(" ")
    code, output, errors = await _run([*words, "-q" + ",".join(map(str, pids))])
    if code:  # some options (f, for one) cannot be used together with q
        code, output, errors = await _run(words)
    if code:
        lines = errors.strip().splitlines()
        raise SampanError(f"ps: {lines[0] if lines else f'exit status {code}'}")
    return output


async def _run(arguments: list[str]) -> tuple[int, str, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            "ps",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise SampanError('ps: exec: "ps": executable file not found in $PATH (install procps)') from None
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


def parse(output: str, pids: Collection[int]) -> Processes:
    """The lines of ps output whose PID is one of `pids`; a thread's line ("-") goes with its process."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise SampanError("Couldn't find PID field in ps output")
    column, last = titles.index("PID"), len(titles) - 1
    rows: list[list[str]] = []
    kept = False
    for line in lines[1:]:
        fields = line.split()
        if len(fields) <= column:
            continue
        if fields[column] != "-":
            try:
                kept = int(fields[column]) in pids
            except ValueError:
                raise SampanError(f"Unexpected pid '{fields[column]}': invalid syntax") from None
        if kept:
            rows.append([*fields[:last], " ".join(fields[last:])])
    return Processes(titles, rows)


def _row(pid: int) -> list[str] | None:
    """One line of `ps -ef` (proc_pid_stat(5)); None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        owner = Path(f"/proc/{pid}").stat().st_uid
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text.rpartition(")")[2].split()
    parent, terminal, ticks = fields[1], int(fields[4]), int(fields[11]) + int(fields[12])
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    started = booted + int(fields[19]) / _TICKS
    elapsed = max(time.time() - started, 0.01)
    used = ticks / _TICKS
    return [
        _user(owner),
        str(pid),
        parent,
        str(min(int(used * 100 / elapsed), 99)),
        _start(started),
        _terminal(terminal),
        _clock(int(used)),
        _command(command) or f"[{name}]",
    ]


def _user(uid: int) -> str:
    """As procps: the name cut to its column, or the number."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return name if len(name) <= 8 else name[:7] + "+"


def _start(moment: float) -> str:
    then, now = time.localtime(moment), time.localtime()
    if then.tm_year != now.tm_year:
        return time.strftime("%Y", then)
    return time.strftime("%H:%M" if then.tm_yday == now.tm_yday else "%b%d", then)


def _terminal(device: int) -> str:
    """tty_nr: minor in bits 31-20 and 7-0, major in 15-8."""
    major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return "?"


def _clock(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    shown = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{shown}" if days else shown


def _command(data: bytes) -> str:
    text = data.replace(b"\0", b" ").decode(errors="replace")
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
