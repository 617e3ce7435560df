"""When a started container runs its own program."""

from __future__ import annotations

import asyncio
import subprocess

from sampan.runtime.start_gate import program, replaced


async def test_a_program_that_takes_the_place_of_another_is_noticed() -> None:
    process = subprocess.Popen(  # noqa: ASYNC220
        ["sh", "-c", "read gate; exec cat"], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    shell = program(process.pid)
    assert shell is not None
    waiting = asyncio.ensure_future(replaced(process.pid, shell))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    process.stdin.write(b"open\n")
    process.stdin.flush()
    await waiting
    assert program(process.pid) not in (shell, None)
    process.stdin.close()
    process.wait()
    await replaced(process.pid, shell)  # one that has ended is not waited for


async def test_what_is_never_replaced_is_not_waited_for_for_ever() -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # noqa: ASYNC220
    own = program(process.pid)
    assert own is not None and process.stdin is not None
    await replaced(process.pid, own)
    process.stdin.close()
    process.wait()
