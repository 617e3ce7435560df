"""How the OCI runtime is called: its own state directory, a JSON log, a small environment."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sampan.runtime import failures
from sampan.runtime.binaries import OCIRuntime
from sampan.runtime.bundle import Bundle


class Invocation:
    """State lies in `<exec-root>/runtimes/<runtime name>/<container id>`: apart from other engines' use of the same
    programs."""

    def __init__(self, exec_root: Path) -> None:
        self._states = exec_root / "runtimes"
        temporary = exec_root / "tmp"
        temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        short = len(os.fsencode(temporary)) < 80  # sun_path: conmon does not shorten this one
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            # conmon makes a TTY's console socket there: ours, not a directory that everybody shares.
            "TMPDIR": str(temporary) if short else "/tmp",
        }

    def state(self, chosen: OCIRuntime, id: str) -> Path:
        return self._states / chosen.name / id

    def states(self, id: str) -> list[Path]:
        """Whichever runtimes have one of that name."""
        return list(self._states.glob(f"*/{id}"))

    def arguments(self, chosen: OCIRuntime, log: Path) -> list[str]:
        """All that comes between `chosen.command[0]` and the command."""
        return [*chosen.command[1:], f"--root={self._states / chosen.name}", f"--log={log}", "--log-format=json"]

    async def run(self, chosen: OCIRuntime, bundle: Bundle, *arguments: str, given: bytes = b"") -> str:
        """Runs one command; "" on success, else what the runtime said."""
        log = bundle.path / "command.log"
        log.unlink(missing_ok=True)
        try:
            process = await asyncio.create_subprocess_exec(
                chosen.command[0],
                *self.arguments(chosen, log),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=self.environment,
            )
        except OSError as error:
            return f"{chosen.command[0]}: {error.strerror}"
        _, said = await process.communicate(given)
        if process.returncode == 0:
            return ""
        return failures.last_error(log) or said.decode(errors="replace").strip() or f"exit code {process.returncode}"
