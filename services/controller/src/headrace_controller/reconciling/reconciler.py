"""Reconciling: one level-triggered step for one cluster, safe to repeat, and the queue that asks for steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from headrace.errors import ClusterEnded, ClusterNotFound, FencedOff, StaleEtag, StoreUnavailable
from headrace_chassis import logs
from headrace_chassis.backoff import delays
from headrace_chassis.redis.leases import ShardLeases, shard_of
from headrace_controller import metrics
from headrace_controller.identifiers import new_worker_id
from headrace_controller.model import Cluster, ClusterId, EndReason, Event, Phase, Severity
from headrace_controller.options import shapes
from headrace_controller.plan import Decision, FetchLogTail, Policy, Seen, plan
from headrace_controller.reconciling.carrying_out import CarryingOut
from headrace_controller.reconciling.processes import Processes
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.session_holders import SessionHolders
from headrace_controller.reconciling.troubles import Troubles
from headrace_controller.routes.routing import RouteState, Routing
from headrace_controller.store import Change, ChangeKind, Fence, Store

log = logs.get_logger()
_RECORD = {ChangeKind.SPEC, ChangeKind.STATUS, ChangeKind.REPORT}
_MOST_PLANS = 4
_PROXY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Whom the reconciler asks and tells."""

    store: Store
    processes: Processes
    routing: Routing
    leases: ShardLeases
    carrying_out: CarryingOut
    troubles: Troubles
    holders: SessionHolders
    changed: Callable[[Cluster], None]
    unknown: Callable[[ClusterId], None]


class Reconciler:
    """Works on the clusters whose shards this replica holds."""

    def __init__(
        self, with_: Neighbours, *, policy: Policy, shards: int, parallelism: int, clock: Callable[[], float]
    ) -> None:
        self._with = with_
        self._policy = policy
        self._shards = shards
        self._parallelism = parallelism
        self._clock = clock
        self._queue: WorkQueue[ClusterId] = WorkQueue()
        self._planned: dict[ClusterId, int] = {}
        self._followed: set[ClusterId] = set()
        self._watching_since: dict[int, float] = {}
        self._pauses: dict[ClusterId, Iterator[float]] = {}
        with_.leases.on_gain(self._gained)
        with_.leases.on_lose(self._lost)

    def fence(self, cluster: ClusterId) -> Fence | None:
        """The proof that this replica may write a cluster's status; None: another one may."""
        shard = shard_of(cluster, self._shards)
        number = self._with.leases.held.get(shard)
        return None if number is None else Fence(shard, number)

    def wake(self, cluster: ClusterId) -> None:
        """Asks for a step as soon as possible."""
        if self.fence(cluster) is not None:
            self._queue.add(cluster)

    def on_change(self, change: Change) -> None:
        """Takes an entry of the change stream; what this replica has planned with already is no news."""
        if change.kind is ChangeKind.REMOVED:
            self._forget(change.cluster)
        elif change.kind in _RECORD and change.revision > self._planned.get(change.cluster, 0):
            if self._with.store.known(change.cluster, change.revision) is None:
                self._followed.discard(change.cluster)
            self.wake(change.cluster)

    def take(self, cluster: Cluster) -> None:
        """The record has changed at this replica."""
        if cluster.revision > self._planned.get(cluster.id, 0):
            self.wake(cluster.id)

    def adopted(self, cluster: Cluster) -> None:
        """The record was lost and made anew."""
        self._planned.pop(cluster.id, None)
        self._followed.discard(cluster.id)
        self.wake(cluster.id)

    async def run(self) -> None:
        """Works for ever."""
        await self._with.processes.known.wait()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallelism):
                group.create_task(self._work())

    async def decide(self, cluster: Cluster, routes: RouteState | None = None) -> Decision:
        """Plans for a cluster as it is and as it is seen."""
        routes = routes or await self._with.routing.state(cluster)
        holder_gone_from = await self._with.holders.gone_from(cluster.report)
        log_tail: dict[str, str] = {}
        for _ in range(_MOST_PLANS):
            seen = Seen(
                processes=self._with.processes.of(cluster.id),
                routed=routes.routed,
                holder_gone_from=holder_gone_from,
                watching_since=self._watching_since.get(shard_of(cluster.id, self._shards), self._clock()),
                troubles=self._with.troubles.of(cluster.id),
                log_tail=log_tail,
            )
            decision = plan(cluster, seen, self._clock(), self._policy, new_worker_id)
            wanted = [action.process for action in decision.actions if isinstance(action, FetchLogTail)]
            if not wanted:
                return decision
            for process in wanted:
                log_tail[process] = await self._with.carrying_out.log_tail(
                    cluster.id, process, self._policy.log_tail_bytes
                )
        raise AssertionError(f"the plan for {cluster.id} asks for the same logs again and again")

    async def look(self, cluster: Cluster) -> None:
        """Asks for a step if a plan would change anything, or for a later one if it says so."""
        decision = await self.decide(cluster)
        if decision.status != cluster.status or decision.actions or decision.events:
            self.wake(cluster.id)
        elif decision.look_again is not None:
            self._queue.add_after(cluster.id, max(0.0, decision.look_again - self._clock()))

    async def step(self, cluster_id: ClusterId) -> float | None:
        """One step; returns in how many seconds to look again, or None for "when it changes"."""
        if (fence := self.fence(cluster_id)) is None:
            return None
        cluster = await self._record(cluster_id)
        routes = await self._with.routing.state(cluster)
        if routes.rejected_by and cluster.spec.stop is None:
            cluster = await self._reject(cluster, routes)
        decision = await self.decide(cluster, routes)
        planned = cluster.revision
        if decision.status != cluster.status or decision.events:
            before = cluster.status.phase
            changed = replace(cluster, status=decision.status)
            cluster = await self._with.store.save_status(changed, fence=fence, events=decision.events)
            self._count(before, cluster)
            # What others wrote meanwhile is in the record now, but was not planned with.
            planned = cluster.revision if cluster.revision == planned + 1 else planned
        self._planned[cluster_id] = planned
        self._with.changed(cluster)
        await self._with.carrying_out.carry_out(cluster, decision.actions)
        if cluster.status.phase.ended:
            self._planned.pop(cluster_id, None)
            self._followed.discard(cluster_id)
        return self._when(decision, waits_for_proxy=bool(cluster.report.route_version) and not routes.routed)

    async def _record(self, cluster: ClusterId) -> Cluster:
        """The newest record that this replica has seen, read anew unless nobody else can have planned since."""
        if cluster in self._followed and (known := self._with.store.known(cluster, 0)):
            return known
        self._followed.add(cluster)  # before reading: what is heard of from now on counts
        return await self._with.store.get(cluster)

    def _when(self, decision: Decision, *, waits_for_proxy: bool) -> float | None:
        """In how many seconds to look again; no event tells that a proxy is waited for no longer."""
        again = None if decision.look_again is None else max(0.0, decision.look_again - self._clock())
        if waits_for_proxy and not decision.status.phase.ended:
            return _PROXY_SECONDS if again is None else min(again, _PROXY_SECONDS)
        return again

    async def _work(self) -> None:
        while True:
            cluster = await self._queue.take()
            metrics.QUEUE.set(len(self._queue))
            try:
                with metrics.RECONCILE_SECONDS.time():
                    outcome = await self._attempt(cluster)
                if outcome != "done":
                    self._followed.discard(cluster)
                metrics.RECONCILES.labels(outcome).inc()
            finally:
                self._queue.done(cluster)

    async def _attempt(self, cluster: ClusterId) -> str:
        """One step, and what its outcome means for the next one."""
        try:
            again = await self.step(cluster)
        except StaleEtag:
            self._queue.add(cluster)
            return "stale"
        except FencedOff:
            log.warning("not this replica's cluster any more", cluster=cluster)
            return "fenced"
        except ClusterNotFound:
            self._forget(cluster)
            self._with.unknown(cluster)
            return "unknown"
        except StoreUnavailable as error:
            log.warning("will try again", cluster=cluster, error=str(error))
            self._pause(cluster)
            return "trouble"
        except Exception:  # one cluster's fault must not stop the others; logged in full
            log.exception("reconciling failed", cluster=cluster)
            self._pause(cluster)
            return "failed"
        self._pauses.pop(cluster, None)
        if again is not None:
            self._queue.add_after(cluster, again)
        return "done"

    def _pause(self, cluster: ClusterId) -> None:
        pauses = self._pauses.setdefault(cluster, delays(0.1, 10.0))
        self._queue.add_after(cluster, next(pauses))

    async def _reject(self, cluster: Cluster, routes: RouteState) -> Cluster:
        """Ends a cluster that a proxy refuses to route to."""
        who = ", ".join(routes.rejected_by)
        message = f"The proxy refused the route to this cluster ({who}); the proxy's log says why."
        event = Event(type="RouteRejected", message=message, severity=Severity.ERROR, time=self._clock())
        try:
            return await self._with.store.change_spec(
                cluster.id,
                lambda spec: replace(spec, stop=spec.stop or EndReason.BACKEND_ERROR),
                demand=shapes.demand,
                limits={},
                event=event,
            )
        except ClusterEnded:
            return await self._with.store.get(cluster.id)

    def _count(self, before: Phase, cluster: Cluster) -> None:
        if before is Phase.STARTING and cluster.status.phase is Phase.RUNNING:
            metrics.START_SECONDS.observe(self._clock() - cluster.created)

    def _gained(self, shard: int) -> None:
        self._watching_since[shard] = self._clock()

    def _lost(self, shard: int) -> None:
        self._watching_since.pop(shard, None)
        self._planned = {c: n for c, n in self._planned.items() if shard_of(c, self._shards) != shard}
        self._followed = {c for c in self._followed if shard_of(c, self._shards) != shard}

    def _forget(self, cluster: ClusterId) -> None:
        self._planned.pop(cluster, None)
        self._followed.discard(cluster)
        self._pauses.pop(cluster, None)
        self._queue.forget(cluster)
