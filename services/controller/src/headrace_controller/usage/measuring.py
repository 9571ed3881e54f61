"""Adds up what clusters really use, as far as it is measured, beside what they were promised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from headrace_controller.loops import faults_logged
from headrace_controller.meter import Sums
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.signals.measured import Measured, Signals
from headrace_controller.store import Store
from headrace_controller.store.usage import MeasuredOf
from headrace_controller.usage.periods import day_of

_PAUSE_SECONDS = 60.0
# Longer than this between two samples, nothing is known of the time between them.
_GAP_SECONDS = 300.0


class Measuring:
    """Once a minute, takes the difference of two samples of each of this replica's clusters.

    A scheduler reports this about itself and may lie, so what is measured decides nothing, and it never exceeds what
    the cluster is promised.
    """

    def __init__(
        self,
        signals: Callable[[], Signals],
        store: Store,
        mirror: ClusterMirror,
        own: Callable[[], Iterable[ClusterId]],
    ) -> None:
        self._signals = signals
        self._store = store
        self._mirror = mirror
        self._own = own
        self._last: dict[ClusterId, Measured] = {}

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            with faults_logged("what was measured of a minute is not in the usage"):
                await self.add()

    async def add(self) -> None:
        """Add what was measured since the last time."""
        last, self._last = self._last, {}
        signals, found = self._signals(), list[MeasuredOf]()
        for id_ in list(self._own()):
            cluster, sample = self._mirror.get(id_), signals.of(id_)
            if cluster is None or cluster.status.phase.ended or not isinstance(sample, Measured):
                continue
            self._last[id_] = sample
            before = last.get(id_)
            if before is not None and (sums := used_between(before, sample, cluster)) is not None:
                found.append(MeasuredOf(id_, cluster.owner, day_of(sample.time), sums))
        await self._store.used.add_measured(found)


def used_between(before: Measured, after: Measured, cluster: Cluster) -> Sums | None:
    """Return what a cluster used between two samples, at most what it is promised; None if that is not known."""
    seconds = after.time - before.time
    cores = after.core_seconds - before.core_seconds
    memory = (after.memory_byte_seconds - before.memory_byte_seconds) / 2**20
    if not 0 < seconds < _GAP_SECONDS or not cores >= 0 or not memory >= 0:
        return None
    rates = cluster.meter.rates
    return Sums(
        clusters=round(seconds * 1000),
        cores=round(min(cores * 1000, rates.cores * seconds) * 1000),
        memory=round(min(memory, rates.memory * seconds) * 1000),
    )
