"""Since when a state of a cluster has been observed, and the pauses in which nobody did."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace_controller.signals.measured import Absence, Measured, NotMeasured

# A shorter pause is like that between two samples.
_SHORT_SECONDS = 90.0
_MOST_PAUSES = 10

Facts = tuple[float | None, float, int, int]
"""What rules read of a sample: since when it is idle, its last activity, its clients, and the results it holds."""
Marks = tuple[float, float, float | None, float | None, tuple[tuple[float, float], ...], Facts | None]
"""What is kept of an `Observed`: its other attributes, in their order, and of its sample the facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The newest sample of a cluster, and for how long each sample before it has said the same.

    Time before the first sample does not count. Nor does a pause: time without samples, or in which no controller had
    the cluster. What was observed before it goes on if by the scheduler's own metrics nothing happened in it, or if the
    cluster works and the pause was short; otherwise all begins again.

    Attributes
    ----------
    sample
        The newest sample, or why there is none.
    until
        Time of the last sample; None if there was none.
    since
        Time of the first one.
    empty_since, abandoned_since
        Time since which workers hold no results, and no client is connected; None if they do, or one is.
    pauses
        Begin and end of each.
    paused
        Whether there is a pause from `until` on, which the next newer sample ends.
    """

    sample: Measured | NotMeasured
    until: float | None = None
    since: float = 0.0
    empty_since: float | None = None
    abandoned_since: float | None = None
    pauses: tuple[tuple[float, float], ...] = ()
    paused: bool = False

    @property
    def marks(self) -> Marks | None:
        """What another replica needs to go on from here; None if nothing was observed."""
        if self.until is None:
            return None
        sample, facts = self.sample, None
        if isinstance(sample, Measured):
            facts = sample.idle_since, sample.active, sample.clients, sample.held_tasks
        return self.until, self.since, self.empty_since, self.abandoned_since, self.pauses, facts

    def pause(self) -> Observed:
        """What is observed if it is not known what happens from the last sample on."""
        return replace(self, paused=True)

    def next(self, sample: Measured | NotMeasured) -> Observed:
        """What is observed with a newer sample."""
        if isinstance(sample, NotMeasured):
            return replace(self, sample=sample, paused=True)
        if self.until is None:
            return first(sample)
        if not self.paused:
            return self._with(sample)
        pause = sample.time - self.until
        if -_SHORT_SECONDS < pause <= 0:
            return replace(self, sample=sample)  # it was taken before the pause
        # Of a cluster that works there is always activity, which does not tell whether more has happened.
        unknown = sample.active > self.until and (pause >= _SHORT_SECONDS or sample.idle_since is not None)
        if pause < 0 or unknown:
            return first(sample)
        return self._after((self.until, sample.time))._with(sample)

    def counting_from(self, time: float) -> float:
        """Return the time from which a state counts that has lasted since `time`: later by the pauses."""
        return time + sum(max(0.0, end - max(start, time)) for start, end in self.pauses)

    def _after(self, pause: tuple[float, float]) -> Observed:
        pauses = (*self.pauses, pause)
        since = max([self.since, *(end for _, end in pauses[:-_MOST_PAUSES])])
        return replace(self, since=since, pauses=pauses[-_MOST_PAUSES:])

    def _with(self, sample: Measured) -> Observed:
        return replace(
            self,
            sample=sample,
            until=sample.time,
            paused=False,
            empty_since=_continued(self.empty_since, sample.time, holds=not sample.held_tasks),
            abandoned_since=_continued(self.abandoned_since, sample.time, holds=not sample.clients),
        )


def first(sample: Measured | NotMeasured) -> Observed:
    """What is observed with the first sample."""
    if isinstance(sample, NotMeasured):
        return Observed(sample=sample)
    now = sample.time
    return Observed(
        sample=sample,
        until=now,
        since=now,
        empty_since=None if sample.held_tasks else now,
        abandoned_since=None if sample.clients else now,
    )


def of_another(marks: Marks) -> Observed:
    """What another replica has observed, with its last sample."""
    until, since, empty_since, abandoned_since, pauses, facts = marks
    sample: Measured | NotMeasured = NotMeasured(absence=Absence.MISSING)
    if facts is not None:
        idle_since, active, clients, held_tasks = facts
        sample = Measured(time=until, idle_since=idle_since, active=active, clients=clients, held_tasks=held_tasks)
    return Observed(
        sample=sample,
        until=until,
        since=since,
        empty_since=empty_since,
        abandoned_since=abandoned_since,
        pauses=pauses,
        paused=True,
    )


def _continued(since: float | None, now: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now if since is None else since
