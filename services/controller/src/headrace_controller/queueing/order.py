"""The order of the clusters that wait, in memory: for what people are told, and for what becomes due."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from statistics import fmean

from headrace.resource_names import cluster_name
from headrace_controller.model import Cluster, ClusterId, Queued
from headrace_controller.plan import Place
from headrace_controller.plan.queueing import rounded, steps

_ADMISSIONS_KEPT = 20


class Order:
    """Those that wait, by the subject for whose room they wait. A handler of the mirror.

    Thousands may wait, so nothing walks through all of them.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_subject: dict[str, list[tuple[float, ClusterId]]] = {}
        self._by_age: list[tuple[float, ClusterId]] = []
        self._waiting: dict[ClusterId, Queued] = {}
        self._admitted: dict[str, deque[float]] = {}  # by subject, the times of the last ones
        self._changes: Counter[str] = Counter()  # of the order of a subject, since its places were compared
        self._told: dict[ClusterId, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def added(self, cluster: Cluster) -> None:
        self._follow(cluster.id, _wait(cluster))

    def updated(self, old: Cluster, new: Cluster) -> None:
        before, after = _wait(old), _wait(new)
        if before != after:
            self._follow(new.id, after)
            if before is not None and not new.stopping and (after is None or after.turn != before.turn):
                times = self._admitted.setdefault(before.subject, deque(maxlen=_ADMISSIONS_KEPT))
                times.append(self._clock())

    def removed(self, cluster: Cluster) -> None:
        self._follow(cluster.id, None)

    def waiting(self) -> list[ClusterId]:
        """Return those that wait."""
        return list(self._waiting)

    def subjects(self) -> list[str]:
        """Return whom clusters wait for, in the order of the first turn of each."""
        return sorted(self._by_subject, key=lambda subject: self._by_subject[subject][0])

    def longest(self) -> float:
        """Return for how many seconds the first of them has waited; 0 if none waits. May be called from any thread."""
        first = self._by_age[:1]
        return max(0.0, self._clock() - first[0][0]) if first else 0.0

    def place(self, cluster: Cluster) -> Place | None:
        """Return the place of a cluster that waits."""
        if (queued := self._waiting.get(cluster.id)) is None:
            return None
        before = bisect_left(self._by_subject[queued.subject], (queued.turn, cluster.id))
        self._told[cluster.id] = rounded(before)
        return Place(before, self._estimate(queued.subject, before))

    def moved(self) -> Iterator[ClusterId]:
        """Return those that are to be told of another place, once."""
        changes, self._changes = self._changes, Counter()
        for subject, number in changes.items():
            order = self._by_subject.get(subject, [])
            for before in _near_steps(len(order), number):
                _, cluster = order[before]
                if self._told.get(cluster) != rounded(before):
                    self._told[cluster] = rounded(before)
                    yield cluster

    def older(self, since: float, than: float) -> list[ClusterId]:
        """Return those that began to wait after one time and up to another."""
        begin, end = (bisect_right(self._by_age, time, key=itemgetter(0)) for time in (since, than))
        return [cluster for _, cluster in self._by_age[begin:end]]

    def _follow(self, cluster: ClusterId, queued: Queued | None) -> None:
        if (before := self._waiting.pop(cluster, None)) is not None:
            self._remove(cluster, before)
        if queued is None:
            self._told.pop(cluster, None)
        else:
            self._waiting[cluster] = queued
            insort(self._by_subject.setdefault(queued.subject, []), (queued.turn, cluster))
            insort(self._by_age, (queued.since, cluster))
            self._changes[queued.subject] += 1

    def _remove(self, cluster: ClusterId, queued: Queued) -> None:
        order = self._by_subject[queued.subject]
        del order[bisect_left(order, (queued.turn, cluster))]
        del self._by_age[bisect_left(self._by_age, (queued.since, cluster))]
        self._changes[queued.subject] += 1
        if not order:
            del self._by_subject[queued.subject]
            self._admitted.pop(queued.subject, None)

    def _estimate(self, subject: str, before: int) -> float | None:
        times = self._admitted.get(subject, ())
        if len(times) < 2:
            return None
        return fmean(later - earlier for earlier, later in pairwise(times)) * (before + 1)


def _near_steps(length: int, changes: int) -> Iterator[int]:
    """Return the places of an order whose rounded number may be another after this number of changes."""
    end = 0
    for step in steps(length + changes):
        yield from range(max(end, step - changes), min(length, step + changes))
        end = max(end, step + changes)


def _wait(cluster: Cluster) -> Queued | None:
    queued = cluster.queued
    if queued is None or not queued.waits or cluster.stopping:
        return None
    if queued.granted and queued.never:
        return replace(queued, subject=cluster_name(cluster.id))  # in nobody's way
    return queued
