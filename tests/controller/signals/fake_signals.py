"""Signals that a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from headrace_controller.model import ClusterId
from headrace_controller.signals.measured import Absence, Measured, NotMeasured, QueryFailed


class FakeSignals:
    """Stands in for a source of measurements; `answers` are those to queries in PromQL."""

    def __init__(self, samples: Mapping[ClusterId, Measured] | None = None) -> None:
        self.answers: dict[str, Mapping[ClusterId, float]] = {}
        self._samples: dict[ClusterId, Measured | NotMeasured] = dict(samples or {})
        self._callbacks: list[Callable[[ClusterId], None]] = []

    def set(self, cluster: ClusterId, sample: Measured) -> None:
        """A new sample was taken."""
        self._change(cluster, sample)

    def let_go_stale(self, cluster: ClusterId) -> None:
        """The last sample becomes too old."""
        last = self._samples[cluster]
        assert isinstance(last, Measured)
        self._change(cluster, NotMeasured(absence=Absence.STALE, last=last))

    def of(self, cluster: ClusterId) -> Measured | NotMeasured:
        return self._samples.get(cluster, NotMeasured(absence=Absence.MISSING))

    def on_change(self, callback: Callable[[ClusterId], None]) -> None:
        self._callbacks.append(callback)

    async def query(self, promql: str) -> Mapping[ClusterId, float]:
        if promql not in self.answers:
            raise QueryFailed(f"the fake has no answer to {promql!r}")
        return self.answers[promql]

    async def run(self) -> None:
        await asyncio.Event().wait()

    def _change(self, cluster: ClusterId, sample: Measured | NotMeasured) -> None:
        self._samples[cluster] = sample
        for callback in self._callbacks:
            callback(cluster)
