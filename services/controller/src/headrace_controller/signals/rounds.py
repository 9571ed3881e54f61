"""Keeps the newest sample of each cluster, whoever takes it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.loops import faults_logged
from headrace_controller.model import ClusterId
from headrace_controller.signals.measured import Absence, Measured, NotMeasured
from headrace_controller.signals.reading import read
from headrace_controller.signals.source import Source, SourceFailed, Target

log = logs.get_logger()

_FRESH = "fresh"
# Two machines' clocks, or one that is set back between two rounds, may put a sample this far into the future.
_AHEAD_SECONDS = 5.0


class MeasuredSignals:
    """Measures this replica's clusters, round by round. What a round does not bring grows stale by itself.

    Parameters
    ----------
    targets
        Called in each round: the clusters to measure.
    """

    def __init__(
        self,
        source: Source,
        targets: Callable[[], Sequence[Target]],
        *,
        interval: float,
        stale: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._targets = targets
        self._interval = interval
        self._stale = stale
        self._clock = clock
        self._callbacks: list[Callable[[ClusterId], None]] = []
        self._samples: dict[ClusterId, Measured] = {}
        self._told: dict[ClusterId, object] = {}
        self._seen_stale: set[ClusterId] = set()
        self._failing = False

    def of(self, cluster: ClusterId) -> Measured | NotMeasured:
        """Return the newest sample."""
        sample = self._samples.get(cluster)
        if sample is None:
            return NotMeasured(absence=Absence.MISSING)
        if -_AHEAD_SECONDS <= self._clock() - sample.time < self._stale:
            return sample
        self._seen_stale.add(cluster)
        return NotMeasured(absence=Absence.STALE, last=sample)

    def on_change(self, callback: Callable[[ClusterId], None]) -> None:
        """Call this with each cluster whose samples now say something else that rules are about."""
        self._callbacks.append(callback)

    async def query(self, promql: str) -> Mapping[ClusterId, float]:
        """Answer a query in PromQL."""
        return await self._source.query(promql)

    async def run(self) -> None:
        """Measure until cancelled."""
        with closing(self._source):
            while True:
                began = time.monotonic()
                with faults_logged("cannot measure; will measure again"):
                    await self.measure()
                await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - began)))

    async def measure(self) -> None:
        """Do one round."""
        targets = {target.cluster: target for target in self._targets()}
        for cluster in self._samples.keys() - targets.keys():
            del self._samples[cluster]

        def take(cluster: ClusterId, values: Mapping[str, float], age: float) -> None:
            self._take(targets.get(cluster), values, age)

        with metrics.SIGNAL_ROUND_SECONDS.time():
            try:
                await self._source.read(list(targets.values()), take)
            except SourceFailed as failure:
                self._note(failed=True, reason=str(failure))
            except Exception:  # a fault of ours decides nothing, and must not end the controller; logged in full
                log.exception("measuring failed")
                self._note(failed=True, reason="see above")
            else:
                self._note(failed=False)
        self._settle(targets)

    def _take(self, target: Target | None, values: Mapping[str, float], age: float) -> None:
        if target is None:
            return
        sample = read(values, time=self._clock() - age, created=target.created)
        if sample is None:
            metrics.SIGNALS_REFUSED.inc()
        else:
            self._samples[target.cluster] = sample

    def _note(self, *, failed: bool, reason: str = "") -> None:
        metrics.SIGNAL_ROUNDS.labels("failed" if failed else "ok").inc()
        if failed and not self._failing:
            log.warning("clusters cannot be measured; nothing is culled until they can", reason=reason)
        elif self._failing and not failed:
            log.info("clusters are measured again")
        self._failing = failed

    def _settle(self, targets: Mapping[ClusterId, Target]) -> None:
        """Tell who listens what has changed, and count."""
        counts: Counter[str] = Counter()
        told: dict[ClusterId, object] = {}
        late = self._clock() - self._stale
        seen_stale, self._seen_stale = self._seen_stale, set()
        for cluster, target in targets.items():
            found = self.of(cluster)
            told[cluster] = news = _news(found)
            if isinstance(found, Measured):
                counts[_FRESH] += 1
            elif found.absence is Absence.STALE or target.started < late:
                counts[found.absence] += 1
            # Somebody may have decided by a sample that was stale between two rounds only.
            comes_back = cluster in seen_stale and isinstance(found, Measured)
            if comes_back or news != self._told.get(cluster, _NOTHING):
                for callback in self._callbacks:
                    callback(cluster)
        self._told = told
        for state in (_FRESH, *Absence):
            metrics.SIGNALS.labels(state).set(counts[state])


def _news(found: Measured | NotMeasured) -> object:
    """What rules are about: whoever decides must look again when it differs."""
    if isinstance(found, NotMeasured):
        return found.absence
    return found.idle_since is None, found.clients == 0, found.held_tasks == 0


_NOTHING = _news(NotMeasured(absence=Absence.MISSING))
