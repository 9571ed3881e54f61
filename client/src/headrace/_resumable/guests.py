"""Through whom clients may connect to a scheduler, and what is open by them: it ends when that ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from distributed.comm.tcp import TLS

T = TypeVar("T")

_UNIT = "organizationalUnitName"
# headrace gives out certificates as soon as a cluster is shared; its scheduler hears of that a moment later.
_HEAR_SECONDS = 2.0


def members_of(comm: TLS) -> frozenset[str]:
    """Return through whom a client's certificate was issued; empty for a process of the cluster."""
    subject = comm.extra_info["peercert"]["subject"]
    return frozenset(value for names in subject for kind, value in names if kind == _UNIT)


class Guests:
    """Connections by the members that they were opened through: ``users/...``, ``groups/...`` or ``roles/admin``.

    Until `set` is called, everybody is admitted.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._ends: Mapping[str, float] | None = None
        self._changed = asyncio.Event()
        self._open: WeakKeyDictionary[Any, tuple[frozenset[str], Callable[[Any], None]]] = WeakKeyDictionary()

    def admits(self, members: frozenset[str]) -> bool:
        """Return whether a connection through one of these members may be open now."""
        if self._ends is None or not members:
            return True
        now = self._clock()
        return any(now < self._ends.get(member, 0.0) for member in members)

    async def admits_soon(self, members: frozenset[str]) -> bool:
        """Make `admits`, and wait for a moment for the news that admit them."""
        try:
            async with asyncio.timeout(_HEAR_SECONDS):
                while not self.admits(members):
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def enter(self, connection: T, members: frozenset[str], end: Callable[[T], None]) -> None:
        """Note an open connection, and how it is ended."""
        if members:
            self._open[connection] = members, end

    def set(self, ends: Mapping[str, float]) -> None:
        """Admit these members only, each until a time."""
        self._ends = ends
        self._changed.set()
        self._changed = asyncio.Event()
        self.check()

    def check(self) -> None:
        """End the connections that are admitted no more."""
        for connection, (members, end) in list(self._open.items()):
            if not self.admits(members):
                del self._open[connection]
                end(connection)
