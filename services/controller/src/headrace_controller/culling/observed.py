"""Since when a state of a cluster has been observed without a gap."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace_controller.signals.measured import Measured, NotMeasured


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The newest sample of a cluster, and for how long each sample before it has said the same.

    Time before the first sample, and before a gap, does not count: nobody was there to see what happened.

    Attributes
    ----------
    sample
        The newest sample, or why there is none.
    since
        Time of the first sample since the last gap.
    empty_since, abandoned_since
        Time since which workers hold no results, and no client is connected; None if they do, or one is.
    """

    sample: Measured | NotMeasured
    since: float
    empty_since: float | None = None
    abandoned_since: float | None = None

    def next(self, sample: Measured | NotMeasured) -> Observed:
        """What is observed with a newer sample."""
        if isinstance(sample, NotMeasured) or isinstance(self.sample, NotMeasured):
            return first(sample)
        return replace(
            self,
            sample=sample,
            empty_since=_continued(self.empty_since, sample.time, holds=not sample.held_tasks),
            abandoned_since=_continued(self.abandoned_since, sample.time, holds=not sample.clients),
        )


def first(sample: Measured | NotMeasured) -> Observed:
    """What is observed with the first sample after a gap."""
    if isinstance(sample, NotMeasured):
        return Observed(sample=sample, since=0.0)
    now = sample.time
    return Observed(
        sample=sample,
        since=now,
        empty_since=None if sample.held_tasks else now,
        abandoned_since=None if sample.clients else now,
    )


def _continued(since: float | None, now: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now if since is None else since
