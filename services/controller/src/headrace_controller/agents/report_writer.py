"""Keeps the stored report of a cluster as its agent reported it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from headrace.backoff import delays
from headrace.errors import ClusterEnded, ClusterNotFound, SessionReplaced, StoreUnavailable
from headrace_controller.agents.pace import Pace
from headrace_controller.agents.reports import without_recorded
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, Report
from headrace_controller.store import Store

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class ReportWriter:
    """Saves the report of one session whenever the store has another one.

    Changes that come while a report is being saved are saved together. A report that the store has lost is saved again,
    because the mirror then shows an older one, or none. If the store has a newer one, saving
    raises `SessionReplaced`.

    Parameters
    ----------
    cluster, report
        The record, and the report to start with.
    adopt
        Rebuilds the record if the store has lost it; returns whether there is one again.
    """

    def __init__(
        self,
        cluster: Cluster,
        report: Report,
        *,
        store: Store,
        mirror: ClusterMirror,
        adopt: Callable[[str], Awaitable[bool]],
        pace: Pace,
    ) -> None:
        self._cluster = cluster
        self._stored = _mark(cluster.report)
        self._store = store
        self._mirror = mirror
        self._adopt = adopt
        self._pace = pace
        self._work = asyncio.Event()
        self._tried = asyncio.Event()
        self._fails = False
        self.report = report
        self.merge(report)

    @property
    def saved(self) -> bool:
        """Whether the store has all that was reported, or does not need it any more."""
        return self._stored == _mark(self.report) or self._cluster.status.phase.ended

    def merge(self, report: Report) -> None:
        """Replaces the report by a newer one."""
        self.report = report
        self._work.set()

    def accept(self, cluster: Cluster | None) -> None:
        """Takes over the record as it is now; None means that the store has lost it."""
        self._cluster = cluster or self._cluster
        self._stored = _mark(cluster.report) if cluster is not None else None
        self._tried.set()
        if not self.saved:
            self._work.set()

    async def caught_up(self) -> None:
        """Waits until the store has all that was reported before the call, or could not take it.

        For one caller at a time.
        """
        reported = self.report.session, self.report.sequence
        self._fails = False
        while not (self.saved or self._fails or (self._stored is not None and self._stored[:2] >= reported)):
            self._tried.clear()
            await self._tried.wait()

    async def run(self) -> None:
        """Saves until cancelled. Raises `SessionReplaced` and `ClusterNotFound`."""
        pauses = delays(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._save()
            except StoreUnavailable:
                self._fails = True
                self._tried.set()
                await asyncio.sleep(next(pauses))
                self._work.set()
            else:
                pauses = delays(_FIRST_PAUSE, _LONGEST_PAUSE)

    async def disconnect(self, since: float) -> None:
        """Saves that the agent is away, unless a newer session has started; waits for a store that does not answer."""
        self.report = replace(self.report, connected=False, changed=since)
        for pause in delays(_FIRST_PAUSE, _LONGEST_PAUSE):
            try:
                self._mirror.apply(await self._store.records.save_report(self._cluster, self.report))
            except (SessionReplaced, ClusterEnded, ClusterNotFound):
                return
            except StoreUnavailable:
                await asyncio.sleep(pause)
            else:
                return

    async def _save(self) -> None:
        if self.saved:
            return
        await self._pace.wait(self._cluster.id)
        self.report = without_recorded(self.report, self._cluster)
        try:
            cluster = await self._store.records.save_report(self._cluster, self.report)
        except ClusterEnded:
            cluster = await self._store.reads.newest(self._cluster)
        except ClusterNotFound:
            if not await self._adopt(self._cluster.id):
                raise
            self._work.set()
            return
        self._mirror.apply(cluster)


def _mark(report: Report) -> tuple[int, int, float | None]:
    """What tells a report from others: its place among the agent's messages, and whether none came for too long."""
    return report.session, report.sequence, report.silent_since
