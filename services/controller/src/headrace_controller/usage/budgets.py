"""Budgets: follows what is used of them, refuses growth, warns, and finds clusters to stop."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from math import inf

from headrace.errors import ClusterNotFound, QuotaExceeded
from headrace.resource_names import group_name, user_name
from headrace.v1.enums import EventType
from headrace_controller import resources
from headrace_controller.loops import faults_logged, wait
from headrace_controller.meter import Meter, Rates
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Demand, EndReason, Event, Severity
from headrace_controller.plan.findings import Finding
from headrace_controller.policy.file import PolicyFile
from headrace_controller.store import Store
from headrace_controller.store.accounts import MOST_GROUPS
from headrace_controller.usage.periods import period
from headrace_controller.usage.standing import Bound, Standing, bounds, standing
from headrace_controller.usage.tally import Tally

_BEAT_SECONDS = 20.0
_PAUSE_SECONDS = 1.0  # between two reads: changes that come close together are read once
_FRESH_SECONDS, _FRESH_FAR_SECONDS = 60.0, 600.0
_STALE_SECONDS = 180.0
_SOON_SECONDS = 120.0  # longer than the longest grace and a beat
_FAR = 0.5
_AT_ONCE = 100
_THEN = {"warn": "", "stop_growing": " Then clusters cannot grow any more.", "stop": " Then clusters are stopped."}


@dataclass(frozen=True, slots=True)
class _Known:
    """A tally, with the time of this process's own clock at which it was read. `asked` grows with each read."""

    tally: Tally
    read: float
    asked: int

    def now(self) -> int:
        """The store's time in ms, or somewhat less: never more, so that nothing is used up before its time."""
        return self.tally.at + int(self.age * 1000)

    @property
    def age(self) -> float:
        return time.monotonic() - self.read


class BudgetWatch:
    """Counts in memory what runs and, as a handler of the mirror, what ends or changes; has the sums read again then.

    Nothing is concluded of a subject before it has been read, nor while the store has been away for long.

    Parameters
    ----------
    policy
        Returns the policy in force.
    own
        Whether this replica decides about a cluster.
    wake
        Has a cluster planned after some seconds.
    """

    def __init__(
        self,
        store: Store,
        mirror: ClusterMirror,
        *,
        policy: Callable[[], PolicyFile],
        own: Callable[[ClusterId], bool],
        wake: Callable[[ClusterId, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._policy = policy
        self._own = own
        self._wake = wake
        self._clock = clock
        self._running: dict[str, set[ClusterId]] = defaultdict(set)
        self._tallies: dict[str, _Known] = {}
        self._changed: dict[str, int] = {}  # by subject, the number of its last change that was not read
        self._numbers = count()
        self._news = asyncio.Event()

    # What others ask

    def check_growth(self, cluster: Cluster, demand: Demand) -> None:
        """Raise `QuotaExceeded` if a cluster would be promised more than now while a budget of it is used up."""
        if cluster.spec.stop or not _grows(cluster.meter.rates, demand):
            return
        for one in self._standings(bounds(self._policy(), cluster.owner, cluster.groups)):
            if one.is_used_up and one.bound.budget.then != "warn":
                raise _used_up(one)

    async def read(self, owner: str, groups: Sequence[str]) -> list[Standing]:
        """Return how the budgets stand that bind a user's clusters, as of now."""
        found = bounds(self._policy(), owner, groups)
        await self._read({bound.subject for bound in found})
        return self._standings(found)

    async def known(self, owner: str, groups: Sequence[str]) -> None:
        """Return once it is known what is used of the budgets of a user's new cluster; mostly at once."""
        subjects = {bound.subject for bound in bounds(self._policy(), owner, groups)}
        if missing := {subject for subject in subjects if self._is_old(subject)}:
            await self._read(missing)

    async def foresee(self, policy: PolicyFile) -> list[Standing]:
        """Return how the budgets of another policy would stand of all that have clusters, without those in force."""
        now, then = self._binding(self._policy()), self._binding(policy)
        new = {subject: [one for one in found if one not in now.get(subject, ())] for subject, found in then.items()}
        await self._read(subject for subject, found in new.items() if found)
        return [one for found in new.values() for one in self._standings(found)]

    def findings(self, cluster: Cluster, policy: PolicyFile | None = None) -> tuple[Finding, ...]:
        """Return the budgets that soon stop a cluster, or end its wait for room.

        Parameters
        ----------
        policy
            Another one than that in force, after `foresee`.
        """
        found = bounds(policy or self._policy(), cluster.owner, cluster.groups)
        stops = [bound for bound in found if _ends(cluster, bound)]
        left = [((one.used_up - one.at) / 1000, one) for one in self._standings(stops) if one.used_up is not None]
        seconds, first = min(left, key=lambda pair: pair[0], default=(inf, None))
        if first is None or seconds > _SOON_SECONDS:
            return ()
        finding = Finding(
            rule="budget",
            reason=EndReason.BUDGET,
            due=None if self._is_stale(first.bound.subject) else self._clock() + seconds,
            warn=first.bound.budget.grace,
            why=f"{first.name} is used up",
            advice=f"It begins again on {first.begins_again}. Ask your administrator for more.",
        )
        return (finding,)

    # Records

    def added(self, cluster: Cluster) -> None:
        """Note that it counts. One that has ended meanwhile was never counted: the sums are read again."""
        self._note_change(cluster)
        if cluster.status.phase.ended:
            return
        for subject in _subjects(cluster):
            self._running[subject].add(cluster.id)

    def updated(self, old: Cluster, new: Cluster) -> None:
        """Note what it is promised now."""
        if new.status.phase.ended and not old.status.phase.ended:
            self._drop(new)
        if old.meter != new.meter:
            for subject in _subjects(new):
                if known := self._tallies.get(subject):
                    known.tally.close(old.meter, new.meter.since)
            self._note_change(new)

    def removed(self, cluster: Cluster) -> None:
        """Note that it counts no more."""
        self._drop(cluster)

    def follow(self, _policy: object) -> None:
        """Apply other budgets at once."""
        self._news.set()

    # The task

    async def run(self) -> None:
        """Follow the budgets until cancelled."""
        while True:
            with faults_logged("cannot follow budgets; they stop nothing meanwhile; will try again"):
                await self.refresh()
            await asyncio.sleep(_PAUSE_SECONDS)
            await wait(self._news, _BEAT_SECONDS)

    async def refresh(self) -> None:
        """Read what may have changed, warn, and wake clusters whose time has come."""
        self._news.clear()
        binding = self._binding(self._policy())
        for subject in self._changed.keys() - binding.keys() - self._tallies.keys():
            del self._changed[subject]
        await self._read(
            subject for subject, found in binding.items() if subject in self._changed or self._is_due(subject, found)
        )
        for subject in self._tallies.keys() - binding.keys():
            if self._tallies[subject].age > _FRESH_SECONDS:
                del self._tallies[subject]
        for found in binding.values():
            for one in self._standings(found):
                await self._act(one)

    def _binding(self, policy: PolicyFile) -> dict[str, list[Bound]]:
        """The bounds of each subject that has clusters, if it has any."""
        found: dict[str, list[Bound]] = {}
        for subject in list(self._running):
            kind, _, name = subject.partition("/")
            of = bounds(policy, name, ()) if kind == "users" else bounds(policy, "", [name])
            if mine := [bound for bound in of if bound.subject == subject]:
                found[subject] = mine
        return found

    async def _act(self, one: Standing) -> None:
        if not one.warns:
            return
        for id_ in list(self._running[one.bound.subject]):
            if not self._own(id_):
                continue
            await self._warn(id_, one)
            cluster = self._mirror.get(id_)
            if one.used_up is not None and cluster is not None and _ends(cluster, one.bound):
                left = (one.used_up - one.at) / 1000 - one.bound.budget.grace
                if left < 2 * _BEAT_SECONDS:
                    self._wake(id_, max(0.0, left))

    async def _warn(self, id_: ClusterId, one: Standing) -> None:
        cluster, bound = self._mirror.get(id_), one.bound
        if cluster is None or cluster.stopping:
            return
        level = "used up" if one.is_used_up else "warned"
        note = sha256(f"{bound.subject} {bound.what} {bound.budget.per} {one.starts} {level}".encode()).hexdigest()[:20]
        type_ = EventType.BUDGET_USED_UP if one.is_used_up else EventType.BUDGET_WARNED
        event = Event(type=type_, message=warning(one), severity=Severity.WARNING, time=self._clock())
        with suppress(ClusterNotFound):
            await self._store.notes.add_event(
                id_, cluster.owner, event, note=note, seconds=(one.resets - one.at) // 1000 + 1
            )

    # What is known

    def _standings(self, found: Iterable[Bound]) -> list[Standing]:
        return [
            standing(bound, known.tally, self._meters(bound.subject), known.now())
            for bound in found
            if (known := self._tallies.get(bound.subject)) is not None
        ]

    def _meters(self, subject: str) -> list[Meter]:
        clusters = map(self._mirror.get, self._running.get(subject, ()))
        return [cluster.meter for cluster in clusters if cluster is not None]

    def _is_due(self, subject: str, found: Sequence[Bound]) -> bool:
        known = self._tallies.get(subject)
        if known is None or known.age > _FRESH_FAR_SECONDS:
            return True
        near = any(one.share >= _FAR for one in self._standings(found))
        return near and known.age > _FRESH_SECONDS

    def _is_old(self, subject: str) -> bool:
        known = self._tallies.get(subject)
        return known is None or (
            not self._running.get(subject) and (known.age > _FRESH_SECONDS or subject in self._changed)
        )

    def _is_stale(self, subject: str) -> bool:
        return self._tallies[subject].age > _STALE_SECONDS

    async def _read(self, subjects: Iterable[str]) -> None:
        wanted = sorted(subjects)
        for start in range(0, len(wanted), _AT_ONCE):
            some = {subject: sorted(self._running.get(subject, ())) for subject in wanted[start : start + _AT_ONCE]}
            changed = {subject: self._changed[subject] for subject in self._changed.keys() & some.keys()}
            await self._read_some(some)
            for subject, number in changed.items():
                if self._changed.get(subject) == number:  # what changes meanwhile is read again
                    del self._changed[subject]

    async def _read_some(self, some: Mapping[str, Sequence[ClusterId]]) -> None:
        today, asked = self._clock(), next(self._numbers)
        first = min(period("week", today).start, period("month", today).start) - 1  # clocks may differ
        now, found = await self._store.used.totals(some, range(first, period("day", today).stop + 1))
        read = time.monotonic()
        for subject in some:
            known = self._tallies.get(subject)
            if known is None or known.asked < asked:  # a later one may have been answered first
                self._tallies[subject] = _Known(Tally.read(found[subject], now), read, asked)

    def _note_change(self, cluster: Cluster) -> None:
        self._changed.update(dict.fromkeys(_subjects(cluster), next(self._numbers)))
        self._news.set()

    def _drop(self, cluster: Cluster) -> None:
        for subject in _subjects(cluster):
            self._running[subject].discard(cluster.id)
            if not self._running[subject]:
                del self._running[subject]


def warning(one: Standing) -> str:
    """Return what the users are told of a budget that is used up, or up to its warning."""
    then = _THEN[one.bound.budget.then]
    if one.is_used_up:
        used = f"{_first_upper(one.name)} is used up.{then.replace('Then clusters', 'Clusters')}"
    else:
        used = f"{one.share:.0%} of {one.name} is used.{then}"
    return f"{used} It begins again on {one.begins_again}."


def _subjects(cluster: Cluster) -> list[str]:
    return [user_name(cluster.owner), *map(group_name, cluster.groups[:MOST_GROUPS])]


def _ends(cluster: Cluster, bound: Bound) -> bool:
    """Whether a cluster ends when a budget is used up: one that waits in the queue could not start any more."""
    then = bound.budget.then
    return then == "stop" or (then == "stop_growing" and cluster.begun is None)


def _grows(rates: Rates, demand: Demand) -> bool:
    return (
        demand[resources.CLUSTERS] > rates.clusters
        or demand[resources.WORKERS] > rates.workers
        or demand[resources.CORES] > rates.cores
        or demand[resources.MEMORY] > rates.memory * 2**20
        or demand[resources.GPUS] > rates.gpus
    )


def _used_up(one: Standing) -> QuotaExceeded:
    facts = {
        "subject": one.bound.subject,
        "what": one.bound.what,
        "limit": f"{one.bound.limit:g}",
        "used": f"{max(one.used, one.bound.limit):.6g}",
        "left": "0",
        "asked": "0",
        "period": one.bound.budget.per,
        "begins_again": one.begins_again,
    }
    used = one.bound.amount(f"{one.used:.4g}")
    return QuotaExceeded(
        f"{one.name} is used up, with {used}. It begins again on {one.begins_again}; until then clusters "
        "may shrink and not grow. Ask your administrator for more",
        facts,
    )


def _first_upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
