"""Tells clusters that a limit was lowered below what is used, and takes workers away where the policy says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256

from headrace.errors import ClusterEnded, ClusterNotFound
from headrace.v1.enums import EventType
from headrace_controller.admission import Admission
from headrace_controller.loops import faults_logged, in_turns, wait
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Event, Limits, Severity
from headrace_controller.plan.sentences import count, duration
from headrace_controller.queueing.lowered import Exceeded, Promised, smaller
from headrace_controller.store import RecordUnreadable, Store

_BEAT_SECONDS = 5.0
_NOTED_SECONDS = 30 * 86_400


class Lowering:
    """Looks at all clusters when the policy or whose they are has changed, and acts for this replica's.

    Every replica comes to the same conclusions from the same records, so they need not agree.
    """

    def __init__(
        self,
        store: Store,
        mirror: ClusterMirror,
        admission: Admission,
        *,
        own: Callable[[ClusterId], bool],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._admission = admission
        self._own = own
        self._clock = clock
        self._news = asyncio.Event()
        self._told: set[tuple[ClusterId, str]] = set()
        self._since: dict[ClusterId, float] = {}  # time since which a cluster is to lose workers

    def follow(self, _policy: object) -> None:
        """Look at once: limits may be lower."""
        self._news.set()

    def gained(self, _shard: int) -> None:
        """Look at once: limits may have been lowered while nobody had these clusters."""
        self._news.set()

    async def run(self) -> None:
        """Follow the limits until cancelled."""
        await self._mirror.ready.wait()
        while True:
            await wait(self._news, self._pause())
            self._news.clear()
            with faults_logged("cannot tell of lowered limits; will try again"):
                await self.step()
                continue
            self._news.set()
            await asyncio.sleep(_BEAT_SECONDS)

    def _pause(self) -> float | None:
        """Seconds until the next cluster loses workers; None if none does."""
        if not self._since:
            return None
        left = min(self._since.values()) + self._admission.lowered_grace - self._clock()
        return left if left > 0 else _BEAT_SECONDS

    async def step(self) -> None:
        """Warn the clusters that are above a limit; take workers away from those that were warned for long enough."""
        mine, surplus = await self._look()
        await self._warn_all(mine, {id_: sum(groups.values()) for id_, groups in surplus.items()})
        now = self._clock()
        self._since = {cluster.id: self._since.get(cluster.id, now) for cluster, _ in mine if cluster.id in surplus}
        due = {id_ for id_, since in self._since.items() if now - since >= self._admission.lowered_grace}
        if not due:
            return
        mine, surplus = await self._look()  # less may be used than before the warnings
        for cluster, above in mine:
            if cluster.id in due & surplus.keys():
                await self._take_away(cluster, surplus[cluster.id], above[0])

    async def _look(self) -> tuple[list[tuple[Cluster, list[Exceeded]]], dict[ClusterId, dict[str, int]]]:
        """This replica's clusters that are above a limit, and the workers that any cluster loses, by group."""
        found = map(self._mirror.get, self._mirror.ids(living=True))
        clusters = {cluster.id: cluster for cluster in found if cluster is not None and not cluster.stopping}
        promised = Promised(self._admission)
        async for cluster in in_turns(clusters.values()):
            if cluster.begun is not None:
                promised.add(cluster)
        exceeded = promised.exceeded()
        surplus = promised.surplus(exceeded) if self._admission.takes_away else {}
        return [(clusters[id_], above) for id_, above in exceeded.items() if self._own(id_)], surplus

    async def _warn_all(
        self, mine: Iterable[tuple[Cluster, Sequence[Exceeded]]], surplus: Mapping[ClusterId, int]
    ) -> None:
        """Warn of each limit, and of what follows, once over restarts and replicas; again if it is exceeded again."""
        pairs = {
            (cluster.id, f"{one.key} {cluster.id in surplus}"): (cluster, one)
            for cluster, above in mine
            for one in above
        }
        for id_, key in self._told - pairs.keys():
            if self._own(id_):
                await self._store.notes.discard(id_, _note(key))
        self._told &= pairs.keys()
        for pair, (cluster, one) in pairs.items():
            if pair in self._told:
                continue
            await self._warn(cluster, one, surplus.get(cluster.id, 0), _note(pair[1]))
            self._told.add(pair)

    async def _warn(self, cluster: Cluster, exceeded: Exceeded, surplus: int, note: str) -> None:
        follows = "It gets no more until that is less."
        if surplus:
            them = f"{count(surplus, 'worker')} of this cluster {'is' if surplus == 1 else 'are'}"
            when = f"in {duration(self._admission.lowered_grace)}" if self._admission.lowered_grace else "now"
            theirs = "its" if surplus == 1 else "their"
            follows = f"{them} retired {when}, after handing over {theirs} data, unless less is used by then."
        event = self._event(f"A limit was lowered: {exceeded}. {follows}")
        with suppress(ClusterNotFound):
            await self._store.notes.add_event(cluster.id, cluster.owner, event, note=note, seconds=_NOTED_SECONDS)

    async def _take_away(self, seen: Cluster, surplus: Mapping[str, int], exceeded: Exceeded) -> None:
        """Scale a cluster down, unless somebody has changed its size since."""

        def change(record: Cluster) -> Cluster:
            same = (record.spec, record.targets, record.queued) == (seen.spec, seen.targets, seen.queued)
            return smaller(record, surplus) if same else record

        number = sum(surplus.values())
        message = f"{count(number, 'worker')} {'is' if number == 1 else 'are'} retired: {exceeded}."
        with suppress(ClusterNotFound, ClusterEnded, RecordUnreadable):
            record = await self._store.records.change(
                seen,
                change,
                demand=self._admission.count,
                limits=dict.fromkeys(self._admission.limits(seen), Limits()),  # none refuses what gets smaller
                event=self._event(message),
            )
            self._mirror.apply(record)

    def _event(self, message: str) -> Event:
        return Event(type=EventType.LIMIT_LOWERED, message=message, severity=Severity.WARNING, time=self._clock())


def _note(key: str) -> str:
    return sha256(f"limit {key}".encode()).hexdigest()[:20]
