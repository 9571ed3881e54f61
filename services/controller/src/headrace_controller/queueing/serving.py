"""Gives room that has become free to those that wait, in their order.

What is free is noted in the store, so that any replica may do it and none has to: one that ends in the middle leaves
its work to the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf

from headrace.errors import ClusterNotFound, QuotaExceeded, StoreUnavailable
from headrace.resource_names import cluster_name
from headrace.v1.enums import EventType
from headrace_controller.admission import Admission
from headrace_controller.loops import faults_logged, wait
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Demand, Event, Limits
from headrace_controller.plan.sentences import duration
from headrace_controller.queueing.order import Order
from headrace_controller.resources import WORKERS
from headrace_controller.store import Change, ChangeKind, RecordUnreadable, Store
from headrace_controller.store.queue import Freed

LOOKAHEAD = 16
"""Owners of clusters that do not fit, after which those behind are not tried: they have their turn when these are gone.
And clusters of one owner that do not fit, after which their others are not tried: nobody is in the way of all."""

_BATCH = 32
_PAUSE_SECONDS = 1.0
_REPAIR_SECONDS = 30.0


class Serving:
    """Admits clusters that wait, and gives workers to those that wait for more.

    Parameters
    ----------
    own
        Whether a cluster, or another name, is this replica's.
    wake
        Called with a cluster whose owner is to be told of another place, or that no budget lets start any more.
    budgets_known
        Returns once it is known what an owner and groups have used of their budgets.
    """

    def __init__(
        self,
        store: Store,
        mirror: ClusterMirror,
        admission: Admission,
        order: Order,
        *,
        own: Callable[[str], bool],
        wake: Callable[[ClusterId], None],
        budgets_known: Callable[[str, Sequence[str]], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._admission = admission
        self._order = order
        self._own = own
        self._wake = wake
        self._budgets_known = budgets_known
        self._clock = clock
        self._news = asyncio.Event()
        self._impatient_until = 0.0
        self._repaired = 0.0

    def on_change(self, change: Change) -> None:
        """Looks at once when there is room."""
        if change.kind is ChangeKind.QUEUE:
            self._news.set()

    def follow(self, _policy: object) -> None:
        """Tries all again, because the limits may be others."""
        self._repaired = 0.0
        self._news.set()

    async def run(self) -> None:
        """Admits clusters until cancelled. While nobody waits, it asks nothing of the store."""
        await self._mirror.ready.wait()
        while True:
            with faults_logged("cannot look through the queue; will try again"):
                await self.step()
            await wait(self._news, _PAUSE_SECONDS)

    async def step(self) -> None:
        """Admits whom there is room for, keeps room for those that have waited for long, and tells of new places."""
        news = self._news.is_set()
        self._news.clear()
        if not self._order and not news:
            return
        now = self._clock()
        if now - self._repaired >= _REPAIR_SECONDS and self._own("queue"):
            self._repaired = now
            try:
                await self._store.queue.wake(self._order.subjects())
            except StoreUnavailable:
                self._repaired = 0.0
                raise
        await self.serve()
        long_ago = now - self._admission.patience
        for cluster in self._order.older(self._impatient_until, long_ago):
            if self._own(cluster):
                await self._admit(cluster)
        self._impatient_until = long_ago
        for cluster in self._order.moved():
            self._wake(cluster)

    async def serve(self) -> None:
        """Looks through the queues of all subjects that have got room."""
        freed = await self._store.queue.next_freed()
        while freed is not None:
            await self._look_through(freed)
            freed = await self._store.queue.next_freed(freed)

    async def _look_through(self, freed: Freed) -> None:
        refused = Counter[str]()  # by owner
        turn = -inf
        # Read on from a turn, not from a place: places change when somebody leaves the queue meanwhile.
        while found := await self._store.queue.waiting(freed.subject, turn, _BATCH):
            *_, turn = found.values()
            for cluster in found:
                record = self._mirror.get(cluster)
                owner = "" if record is None else record.owner
                if refused[owner] == LOOKAHEAD:
                    continue
                if await self._admit(cluster) in {freed.subject, None}:
                    refused[owner] += 1
                    if len(refused) == LOOKAHEAD:
                        return

    async def _admit(self, cluster_id: ClusterId) -> str | None:
        """Admits a cluster if no limit refuses it; returns for whose room it still waits, "" for nobody's.

        Returns None if its record cannot be read, or if a budget refuses it: then its plan ends it. Workers that a
        budget refuses to one that has started wait in nobody's way.
        """
        try:
            cluster = self._mirror.get(cluster_id) or await self._store.reads.get(cluster_id)
            await self._budgets_known(cluster.owner, cluster.groups)
            try:
                record, subject = await self._ask(cluster, self._admission.demand, self._admission.limits)
            except QuotaExceeded:
                if cluster.begun is None:
                    self._wake(cluster_id)
                    return None
                record, subject = await self._ask(cluster, self._admission.count, self._as_it_is)
        except (ClusterNotFound, RecordUnreadable):
            return None  # it stays where it is, and those behind it are tried
        if record is not None:
            self._mirror.apply(record)
        return subject

    async def _ask(
        self, cluster: Cluster, demand: Callable[[Cluster], Demand], limits: Callable[[Cluster], Mapping[str, Limits]]
    ) -> tuple[Cluster | None, str]:
        return await self._store.records.admit(
            cluster,
            demand=demand,
            limits=limits,
            growth=self._admission.growth,
            patience=self._admission.patience,
            event=self._admitted(cluster),
        )

    def _as_it_is(self, cluster: Cluster) -> Mapping[str, Limits]:
        """The limits of a cluster that may have no more workers than it has."""
        most = Limits({WORKERS: self._admission.count(cluster)[WORKERS]})
        return {**self._admission.limits(cluster), cluster_name(cluster.id): most}

    def _admitted(self, cluster: Cluster) -> Event:
        now = self._clock()
        waited = max(0.0, now - (cluster.queued.since if cluster.queued else now))
        what = "the cluster" if cluster.begun is None else "more workers"
        message = f"There is room for {what}. It waited for {duration(round(waited))}."
        return Event(type=EventType.ADMITTED, message=message, time=now)
