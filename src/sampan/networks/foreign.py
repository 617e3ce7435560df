"""Keeping up with other firewalls: watches nftables for changes by others and keeps our table and the accept rules
right.

A firewall that reloads (`nft -f` with `flush ruleset`, an engine that sets FORWARD to DROP when it starts) must not
cut running containers off, so each change by somebody else leads to one look, a moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

from sampan.linux.nft import NftError
from sampan.networks import forwarding
from sampan.networks.forwarding import Chain
from sampan.networks.wiring import Wiring

log = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_SETTLE = 0.3
"""Seconds from a change to the look at it: a reload is many changes."""


class Foreign:
    """`chains` are the foreign chains that carry our accept rule; `warnings` what `info` must say."""

    def __init__(self, run: Callable[[Callable[[], None]], Awaitable[None]], wiring: Wiring) -> None:
        """`run` runs blocking work in the networks' thread."""
        self.chains: list[Chain] = []
        self.warnings: list[str] = []
        self._run = run
        self._wiring = wiring
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Future[None] | None = None
        self._ours = 0

    async def watch(self) -> None:
        """Looks once, then at every change."""
        await self._run(self.look)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
            listener.setblocking(False)
            listener.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
            self._socket = listener
            loop.add_reader(listener.fileno(), self._changed)

    def _changed(self) -> None:
        """Something changed, maybe by us: what, does not matter (an overrun socket says the same)."""
        while self._socket is not None:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                continue
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._task = asyncio.ensure_future(self._run(self.look))
        self._task.add_done_callback(_report)

    def look(self) -> None:
        """In the networks' thread: puts our table back if it is gone, and the accept rules where a policy drops."""
        wiring = self._wiring
        try:
            blocking, present = forwarding.look(wiring.nft, wiring.rules.table)
            if not wiring.rules.bridges:  # the accept rule goes with the last bridge
                blocking = []
                if self.chains:
                    forwarding.withdraw(wiring.nft, wiring.rules.table)
            if bool(blocking) != wiring.rules.mark or not present:
                if not present:
                    log.warning("nftables table inet %s was removed by somebody; putting it back", wiring.rules.table)
                wiring.rules.mark = bool(blocking)
                wiring.rebuild()
            had = self.chains
            self.chains = forwarding.accept(wiring.nft, wiring.rules.table, blocking)
        except NftError as error:
            log.warning("cannot look at the host's firewall: %s", error)
            return
        for chain in self.chains:
            if chain not in had:
                log.info("added an accept rule for our bridges to chain %s, whose policy is DROP", chain)
        self.warnings = [
            f"WARNING: chain {chain} drops forwarded packets and an accept rule could not be added"
            for chain in blocking
            if chain not in self.chains
        ]

    def withdraw(self) -> None:
        """In the networks' thread: takes our accept rules away."""
        with contextlib.suppress(NftError):
            forwarding.withdraw(self._wiring.nft, self._wiring.rules.table)
        self.chains = []

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _report(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and done.exception() is not None:
        log.error("looking at the host's firewall failed", exc_info=done.exception())
