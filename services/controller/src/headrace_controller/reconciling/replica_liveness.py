"""Replicas that hold agents' sessions: one that was killed cannot report that its agents have left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from headrace_chassis import logs
from headrace_controller.loops import faults_logged, wait
from headrace_controller.model import Cluster, ClusterId, Report
from headrace_controller.store.replicas import Replicas

log = logs.get_logger()
_POLL_SECONDS, _SHORTEST_PAUSE = 3.0, 0.05
_TRUSTED = 2 * _POLL_SECONDS  # a sign of life that reaches further was read before a clock was set back
# By then after an absence of the store, all replicas have renewed their sign of life; and agents try again sooner.
_PATIENCE_SECONDS = 3.0
# Many agents return one after the other. While they do, the others are waited for, but no longer than this.
_LONGEST_PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class _Missing:
    """A replica whose last sign of life has expired. It may be late with the next one until it counts as `gone`."""

    since: float
    gone_from: float
    gone: bool = False


class ReplicaLiveness:
    """Asks once for all sessions of a replica, and only when its last sign of life has expired.

    Parameters
    ----------
    me
        Name of this replica, which is never asked for.
    wake
        Called with each cluster whose session's replica counts as gone or is back, and with each that has a session
        again.
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
        self._missing: dict[str, _Missing] = {}
        self._new = asyncio.Event()

    def gone_from(self, report: Report) -> float | None:
        """Returns the time since which the replica that holds the agent's session counts as gone.

        None: it lives or may live, or there is no session.
        """
        missing = self._missing.get(report.holder) if report.connected else None
        return missing.gone_from if missing is not None and missing.gone else None

    async def run(self) -> None:
        """Checks replicas until cancelled; new ones at once."""
        while True:
            self._new.clear()
            with faults_logged("cannot check other replicas"):
                await self.check()
            await wait(self._new, self._pause())

    async def check(self) -> None:
        """Checks once all replicas that hold sessions and may be gone."""
        now = self._clock()
        doubtful = [
            holder for holder in self._sessions if not now < self._lives_until.get(holder, 0.0) < now + _TRUSTED
        ]
        if not doubtful:
            return
        for holder, seconds in zip(doubtful, await self._replicas.live_for(doubtful), strict=True):
            if holder not in self._sessions:
                continue  # its last agent has left it meanwhile
            if seconds:
                self._lives_until[holder] = now + min(seconds, _POLL_SECONDS)
                if (found := self._missing.pop(holder, None)) and found.gone:
                    self._wake_all(holder)
            elif (missing := self._missing.get(holder)) is None:
                log.warning("a replica that holds agents' sessions has expired", holder=holder)
                self._lives_until.pop(holder, None)
                self._missing[holder] = _Missing(now, now + _PATIENCE_SECONDS)
            elif not missing.gone and now >= missing.gone_from:
                missing.gone = True
                self._wake_all(holder)

    def added(self, cluster: Cluster) -> None:
        if holder := self._holder(cluster):
            if holder not in self._sessions:
                self._new.set()
            self._sessions.setdefault(holder, set()).add(cluster.id)

    def updated(self, old: Cluster, new: Cluster) -> None:
        if (before := self._holder(old)) != self._holder(new):
            if missing := self._missing.get(before or ""):
                self._returned(missing, new)
            self.removed(old)
            self.added(new)

    def removed(self, cluster: Cluster) -> None:
        if holder := self._holder(cluster):
            sessions = self._sessions[holder]
            sessions.discard(cluster.id)
            if not sessions:
                del self._sessions[holder]
                self._missing.pop(holder, None)
                self._lives_until.pop(holder, None)

    def _wake_all(self, holder: str) -> None:
        for cluster in self._sessions.get(holder, ()):
            self._wake(cluster)

    def _holder(self, cluster: Cluster) -> str | None:
        """The other replica that holds the session of a living cluster."""
        if not cluster.report.connected or cluster.report.holder in {"", self._me} or cluster.status.phase.ended:
            return None
        return cluster.report.holder

    def _returned(self, missing: _Missing, cluster: Cluster) -> None:
        """Waits longer for the other agents of a missing replica, now that one has a session again."""
        if missing.gone:
            self._wake(cluster.id)
        else:
            missing.gone_from = min(missing.since + _LONGEST_PATIENCE_SECONDS, self._clock() + _PATIENCE_SECONDS)

    def _pause(self) -> float:
        """Seconds until replicas are checked again."""
        due = [missing.gone_from - self._clock() for missing in self._missing.values() if not missing.gone]
        return max(_SHORTEST_PAUSE, min([_POLL_SECONDS, *due]))
