"""Replicas that hold agents' sessions: one that was killed cannot report that its agents have left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from redis.exceptions import RedisError

from headrace.errors import StoreUnavailable
from headrace_chassis import logs
from headrace_controller.model import Cluster, ClusterId, Report
from headrace_controller.store.replicas import Replicas

log = logs.get_logger()
_POLL_SECONDS = 3.0
# By then after an absence of the store, all replicas have renewed their sign of life.
_PATIENCE_SECONDS = 2.0


class ReplicaLiveness:
    """Asks once for all sessions of a replica, and only when its last sign of life has expired.

    Parameters
    ----------
    me
        Name of this replica, which is never asked for.
    wake
        Called with each cluster whose session is held by a replica that has expired.
    """

    def __init__(
        self, replicas: Replicas, me: str, *, wake: Callable[[ClusterId], None], clock: Callable[[], float]
    ) -> None:
        self._replicas = replicas
        self._me = me
        self._wake = wake
        self._clock = clock
        self._sessions: dict[str, set[ClusterId]] = {}
        self._lives_until: dict[str, float] = {}
        self._gone_from: dict[str, float] = {}
        self._new = asyncio.Event()

    def gone_from(self, report: Report) -> float | None:
        """Returns the time from which the replica that holds the agent's session counts as gone.

        That is soon after it was missed. None: it lives, or there is no session.
        """
        return self._gone_from.get(report.holder) if report.connected else None

    async def run(self) -> None:
        """Checks replicas until cancelled; new ones at once."""
        while True:
            self._new.clear()
            try:
                await self.check()
            except (StoreUnavailable, RedisError) as error:
                log.warning("cannot check other replicas", error=str(error))
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._new.wait()
            except TimeoutError:
                pass

    async def check(self) -> None:
        """Checks once all replicas that hold sessions and may be gone."""
        now = self._clock()
        doubtful = [holder for holder in self._sessions if now >= self._lives_until.get(holder, 0.0)]
        if not doubtful:
            return
        for holder, seconds in zip(doubtful, await self._replicas.live_for(doubtful), strict=True):
            if seconds:
                self._lives_until[holder] = now + seconds
                self._gone_from.pop(holder, None)
            elif holder not in self._gone_from:
                self._miss(holder, now)

    def added(self, cluster: Cluster) -> None:
        if holder := self._holder(cluster):
            if holder not in self._sessions:
                self._new.set()
            self._sessions.setdefault(holder, set()).add(cluster.id)

    def updated(self, old: Cluster, new: Cluster) -> None:
        if self._holder(old) != self._holder(new):
            self.removed(old)
            self.added(new)

    def removed(self, cluster: Cluster) -> None:
        if holder := self._holder(cluster):
            sessions = self._sessions[holder]
            sessions.discard(cluster.id)
            if not sessions:
                del self._sessions[holder]
                self._gone_from.pop(holder, None)
                self._lives_until.pop(holder, None)

    def _holder(self, cluster: Cluster) -> str | None:
        """The other replica that holds the session of a living cluster."""
        if not cluster.report.connected or cluster.report.holder in {"", self._me} or cluster.status.phase.ended:
            return None
        return cluster.report.holder

    def _miss(self, holder: str, now: float) -> None:
        log.warning("a replica that holds agents' sessions has expired", holder=holder)
        self._lives_until.pop(holder, None)
        self._gone_from[holder] = now + _PATIENCE_SECONDS
        for cluster in self._sessions.get(holder, ()):
            self._wake(cluster)
