"""Reconciling: one level-triggered step for one cluster, safe to repeat, whenever the queue has its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace

from headrace.backoff import delays
from headrace.errors import ClusterNotFound, HeadraceError, StaleEtag, StoreUnavailable
from headrace.tracing import Tracing
from headrace.v1.enums import EventType
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.identifiers import new_worker_id
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Event, Phase, Severity, WorkerState
from headrace_controller.plan import Decision, FetchLogTail, Policy, calls_for_plan, plan
from headrace_controller.reconciling.executor import Executor
from headrace_controller.reconciling.manifest_sync import ManifestSync
from headrace_controller.reconciling.observer import Observer
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.shards import Shards
from headrace_controller.store import Fence, FencedOff
from headrace_controller.store.events import Events
from headrace_controller.store.records import Records
from headrace_controller.worker_counts import count_states

log = logs.get_logger()
STEP = "step of reconciling"
_MAX_PLANS = 4
_FAILING = (
    "headrace cannot decide what this cluster needs, because of a fault of its own. What runs is left alone. It tries "
    "again; if nothing changes, ask your administrator, who finds the cause in the controller's log."
)
_UNSEEN = (
    "headrace cannot see this cluster's processes{}. What runs is left alone, and what you ask for waits. If nothing "
    "changes, ask your administrator, who finds the cause in the controller's log."
)
_LONG_PAUSE_SECONDS = 2.0  # of a cluster that could not be seen for several tries


class _Unobserved(Exception):
    """The processes of a cluster were not looked for yet: nothing may be concluded."""


class Reconciler:
    """Works on the clusters of this replica's shards. As a handler of the mirror it queues what others have written.

    Parameters
    ----------
    unknown
        Called with a cluster that has processes but no record.
    """

    def __init__(
        self,
        *,
        records: Records,
        events: Events,
        mirror: ClusterMirror,
        queue: WorkQueue[ClusterId],
        shards: Shards,
        observer: Observer,
        executor: Executor,
        manifests: ManifestSync,
        unknown: Callable[[ClusterId], None],
        policy: Policy,
        clock: Callable[[], float],
        tracing: Tracing | None = None,
    ) -> None:
        self._records = records
        self._events = events
        self._mirror = mirror
        self._queue = queue
        self._shards = shards
        self._observer = observer
        self._executor = executor
        self._manifests = manifests
        self._unknown = unknown
        self._policy = policy
        self._clock = clock
        self._tracing = tracing
        self._pauses: dict[ClusterId, Iterator[float]] = {}
        self._failing: set[ClusterId] = set()  # whose owners were told that no step succeeds
        self._caught_up: dict[int, int] = {}  # by shard, the lease since whose start the mirror was fresh

    def added(self, cluster: Cluster) -> None:
        if not cluster.status.phase.ended:  # what still runs of it is queued by the table of processes
            self._queue.add(cluster.id)

    def updated(self, old: Cluster, new: Cluster) -> None:
        if calls_for_plan(old, new):
            self._queue.add(new.id)

    def removed(self, cluster: Cluster) -> None:
        self._queue.discard(cluster.id)
        self._pauses.pop(cluster.id, None)
        self._failing.discard(cluster.id)
        self._queue.add(cluster.id)  # what still runs of it has no record now

    def contact_changed(self) -> None:
        """Queues clusters that wait for a platform, which has ceased to answer or answers again."""
        for cluster_id in self._shards.all_own():
            cluster = self._mirror.get(cluster_id)
            if cluster is not None and (cluster.status.phase is Phase.STARTING or _misses_workers(cluster)):
                self._queue.add(cluster_id)

    def gained(self, shard: int) -> None:
        """Queues the living clusters of a shard that this replica has gained."""
        for cluster in self._shards.living(shard):
            self._queue.add(cluster)

    async def run(self, parallelism: int) -> None:
        """Takes steps until cancelled, several side by side, once all records and processes are known."""
        await self._mirror.ready.wait()
        await self._observer.known()
        async with asyncio.TaskGroup() as group:
            for _ in range(parallelism):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            cluster = await self._queue.take()
            metrics.QUEUE.set(len(self._queue))
            try:
                with metrics.RECONCILE_SECONDS.time():
                    outcome = await self._reconcile(cluster)
                metrics.RECONCILES.labels(outcome).inc()
            finally:
                self._queue.done(cluster)
            await asyncio.sleep(0)  # most steps wait for nothing, and others must get their turn

    async def step(self, cluster_id: ClusterId) -> float | None:
        """Takes one step; returns the seconds until the next one is due, or None if only a change calls for it."""
        if (fence := self._shards.fence(cluster_id)) is None:
            return None
        if self._caught_up.get(fence.shard) != fence.number:
            # The replica before may have launched workers that are not in the mirror yet.
            await self._mirror.fresh()
            self._caught_up[fence.shard] = fence.number
        if self._mirror.set_aside(cluster_id) is not None:
            return None  # nothing may be concluded from what was known before; it is queued once it can be read
        if (cluster := self._mirror.get(cluster_id)) is None:
            self._unknown(cluster_id)
            return None
        if not self._observer.observed(cluster) and not self._observer.cannot_start(cluster):
            raise _Unobserved
        with self._span(cluster):
            return await self._step(cluster, fence)

    def _span(self, cluster: Cluster) -> AbstractContextManager[None]:
        """A span of a step towards the start of a cluster, below the call that created it."""
        if self._tracing is None or not cluster.start_trace:
            return nullcontext()
        attributes = {"headrace.cluster": cluster.id}
        return self._tracing.within(self._tracing.start(STEP, "INTERNAL", cluster.start_trace, attributes))

    async def _step(self, cluster: Cluster, fence: Fence) -> float | None:
        decision = await self._decide(cluster)
        saved = await self._save(cluster, decision, fence)
        if saved.status.phase is not Phase.QUEUED:
            self._manifests.sync(saved, changed=cluster.status.observed_generation != cluster.generation)
        await self._executor.execute(saved, decision.actions)
        return None if decision.requeue_at is None else max(0.0, decision.requeue_at - self._clock())

    async def _decide(self, cluster: Cluster) -> Decision:
        log_tail: dict[str, str] = {}
        for _ in range(_MAX_PLANS):
            seen = self._observer.observe(cluster, log_tail)
            decision = plan(cluster, seen, self._clock(), self._policy, new_worker_id)
            wanted = [action.process for action in decision.actions if isinstance(action, FetchLogTail)]
            if not wanted:
                return decision
            for process in wanted:
                log_tail[process] = await self._executor.log_tail(cluster.id, process, self._policy.log_tail_bytes)
        raise AssertionError(f"the plan for {cluster.id} asks for the same logs again and again")

    async def _save(self, cluster: Cluster, decision: Decision, fence: Fence) -> Cluster:
        """Saves what was decided, if anything was; returns the newest record."""
        same = decision.status is cluster.status and decision.workers is cluster.workers
        if same and not decision.events:
            return cluster
        decided = replace(cluster, status=decision.status, workers=decision.workers)
        saved = await self._records.save_status(cluster, decided, fence=fence, events=decision.events)
        if cluster.status.phase is Phase.STARTING and saved.status.phase is Phase.RUNNING:
            _observe_start(saved, self._clock())
        # What others wrote meanwhile was not planned with.
        alone = saved.report is cluster.report and saved.spec is cluster.spec
        self._mirror.apply(saved, by=self if alone else None)
        return saved

    async def _reconcile(self, cluster: ClusterId) -> str:
        try:
            again = await self.step(cluster)
        except StaleEtag:
            self._pause(cluster)  # as soon as the mirror has what the store has, it queues the cluster
            return "stale"
        except FencedOff:
            log.warning("another replica has this cluster now", cluster=cluster)
            return "fenced"
        except ClusterNotFound:
            self._unknown(cluster)
            return "unknown"
        except _Unobserved:
            await self._look_again(cluster)
            return "unobserved"
        except StoreUnavailable as error:
            log.warning("cannot reconcile; will try again", cluster=cluster, error=str(error))
            self._pause(cluster)
            return "unavailable"
        except Exception:  # one cluster's fault must not stop the others; logged in full
            log.exception("reconciling failed", cluster=cluster)
            self._pause(cluster)
            self._stop_failing(cluster)
            await self._tell(cluster, _FAILING)
            return "failed"
        self._pauses.pop(cluster, None)
        self._failing.discard(cluster)
        if again is not None:
            self._queue.add_after(cluster, again)
        return "done"

    def _stop_failing(self, cluster_id: ClusterId) -> None:
        """Ends what runs of a cluster that is to stop, although no step for it succeeds."""
        if (cluster := self._mirror.get(cluster_id)) is not None and cluster.spec.stop:
            self._executor.stop(cluster_id)

    async def _tell(self, cluster_id: ClusterId, message: str) -> None:
        """Tells the owner by an event why no step succeeds, once until one does."""
        if cluster_id in self._failing or (cluster := self._mirror.get(cluster_id)) is None:
            return
        event = Event(type=EventType.RECONCILING_FAILED, message=message, severity=Severity.ERROR, time=self._clock())
        with suppress(HeadraceError):  # the next step that fails tells of it
            await self._events.add(cluster_id, cluster.owner, event)
            self._failing.add(cluster_id)

    async def _look_again(self, cluster: ClusterId) -> None:
        if self._pause(cluster) > _LONG_PAUSE_SECONDS:
            obstacle = self._observer.obstacle(cluster)
            why = f": {obstacle}" if obstacle else ", such as for lack of a right where they run"
            await self._tell(cluster, _UNSEEN.format(why))

    def _pause(self, cluster: ClusterId) -> float:
        """Has the next step taken after a pause, longer after each failure; returns its seconds."""
        pause = next(self._pauses.setdefault(cluster, delays(0.1, 10.0)))
        self._queue.add_after(cluster, pause)
        return pause


def _misses_workers(cluster: Cluster) -> bool:
    numbers = count_states(cluster.workers).items()
    return any(number and state is WorkerState.PENDING for (_, state), number in numbers)


def _observe_start(cluster: Cluster, now: float) -> None:
    """Adds how long a cluster took to start, and on what."""
    began = cluster.begun or cluster.created
    metrics.START_SECONDS.observe(now - began)
    launched, connected = cluster.status.scheduler_created or began, cluster.report.changed
    for phase, since, until in (
        ("launch", began, launched),
        ("connect", launched, connected),
        ("route", connected, now),
    ):
        metrics.START_PHASE_SECONDS.labels(phase).observe(max(0.0, until - since))
