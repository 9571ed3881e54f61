"""Replicas that hold agents' sessions: one that was killed cannot say that its agents have left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.errors import StoreUnavailable
from headrace_chassis import logs
from headrace_controller.model import Report
from headrace_controller.store import Store

log = logs.get_logger()
_EVERY_SECONDS = 3.0
# So long after the store was away, all replicas have said again that they live.
_PATIENCE_SECONDS = 2.0


class SessionHolders:
    """Asks for a replica only when what it said last, that it lives, has run out.

    Parameters
    ----------
    me
        Name of this replica, which is never asked for.
    missed
        Called when another one that holds sessions is missed: what it has reported is to be looked at.
    """

    def __init__(self, store: Store, me: str, *, missed: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._store = store
        self._me = me
        self._missed = missed
        self._clock = clock
        self._lives_until: dict[str, float] = {}
        self._gone_from: dict[str, float] = {}

    async def gone_from(self, report: Report) -> float | None:
        """From when on the replica that holds the agent's session counts as gone, soon after that was noticed.

        None: it lives, or there is no session.
        """
        holder = report.holder
        if not report.connected or holder in {"", self._me} or await self._lives(holder):
            return None
        return self._gone_from[holder]

    async def run(self) -> None:
        """Looks for ever after those that were found living: nobody else tells when one is gone."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("cannot look for other replicas", error=str(error))

    async def look(self) -> None:
        """Looks after them once."""
        for holder in list(self._lives_until):
            await self._lives(holder)

    async def _lives(self, holder: str) -> bool:
        now = self._clock()
        if now < self._lives_until.get(holder, 0.0):
            return True
        if seconds := await self._store.lives_for(holder):
            self._lives_until[holder] = now + seconds
            self._gone_from.pop(holder, None)
            return True
        self._lives_until.pop(holder, None)
        if holder not in self._gone_from:
            self._gone_from[holder] = now + _PATIENCE_SECONDS
            log.warning("a replica that holds agents' sessions is missed", holder=holder)
            self._missed(holder)
        return False
