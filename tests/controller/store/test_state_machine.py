"""Whatever is written in whatever order, the store answers as a dict would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule, run_state_machine_as_test
from tests.controller.builders import event, worker

from headrace.errors import AliasTaken, ClusterEnded, ClusterNotFound, QuotaExceeded, SessionReplaced, StaleEtag
from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import (
    Cluster,
    ClusterId,
    Demand,
    Departure,
    Group,
    Limits,
    Phase,
    Report,
    Spec,
    Status,
    UserId,
    WorkerId,
)
from headrace_controller.store import DEPLOYMENT, Fence, FencedOff, Store, StoredCluster

T = TypeVar("T")
FENCE = Fence(3, 11)
WORKERS_EACH = 12
CLUSTERS_ALL = 8
CREATED, CHANGED, SAVED = event("created"), event("changed"), event("saved")

owners = st.sampled_from([UserId("ann"), UserId("bob")])
aliases = st.sampled_from(["", "", "etl", "training"])
request_ids = st.sampled_from(["", "", "r1", "r2", "r3"])
sizes = st.integers(0, 8)
names = st.sets(st.sampled_from([WorkerId(f"default-{n}-a") for n in range(1, 6)]))


def demand_of(cluster: Cluster) -> Demand:
    size = cluster.spec.groups[0].size + cluster.targets.get("more", 0)
    return Demand(clusters=1, workers=size, cores_milli=500 * size, memory_bytes=1000 + size)


@dataclass
class Expected:
    """The store as a dict."""

    clusters: dict[ClusterId, Cluster] = field(default_factory=dict[ClusterId, Cluster])
    aliases: dict[tuple[UserId, str], ClusterId] = field(default_factory=dict[tuple[UserId, str], ClusterId])
    requests: dict[tuple[UserId, str], ClusterId] = field(default_factory=dict[tuple[UserId, str], ClusterId])
    made_by: dict[ClusterId, tuple[UserId, str]] = field(default_factory=dict[ClusterId, tuple[UserId, str]])
    events: dict[ClusterId, list[str]] = field(default_factory=dict[ClusterId, list[str]])
    stopping: set[ClusterId] = field(default_factory=set[ClusterId])
    decided: dict[ClusterId, int] = field(default_factory=dict[ClusterId, int])  # revision of the last spec or status

    def usage(self, owner: UserId | None) -> Demand:
        promised = [
            demand_of(cluster)
            for cluster in self.clusters.values()
            if not cluster.status.phase.ended and owner in {None, cluster.owner}
        ]
        return Demand(
            clusters=len(promised),
            workers=sum(demand["workers"] for demand in promised),
            cores_milli=sum(demand["cores_milli"] for demand in promised),
            memory_bytes=sum(demand["memory_bytes"] for demand in promised),
        )

    def refuses(self, owner: UserId, old: int, new: int, clusters: int) -> bool:
        workers = self.usage(owner)["workers"] + new - old > WORKERS_EACH and new > old
        return workers or (clusters > 0 and self.usage(None)["clusters"] + clusters > CLUSTERS_ALL)

    def stop(self, cluster: Cluster) -> None:
        self.stopping.add(cluster.id)
        if self.aliases.get((cluster.owner, cluster.spec.alias)) == cluster.id:
            del self.aliases[cluster.owner, cluster.spec.alias]


class StoreMachine(RuleBasedStateMachine):
    """Calls the store and the dict side by side. `seen` may be of any earlier time."""

    redis_url = ""
    clusters: Bundle[ClusterId] = Bundle("clusters")

    def __init__(self) -> None:
        super().__init__()
        self.expected = Expected()
        self.made = 0
        self.history: dict[ClusterId, list[Cluster]] = {}
        self.loop = asyncio.new_event_loop()
        self.redis = connect(self.redis_url)
        self.keys = Keys(Prefix("machine"))
        self.store = Store(self.redis, self.keys)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def written(self, after: Cluster, result: Cluster, *events: str, decides: bool = False) -> None:
        """Compares what a write returned, and notes it."""
        before = self.expected.clusters.get(after.id)
        assert result == replace(after, revision=result.revision)
        assert result.revision > (before.revision if before else 0)
        assert result.revision == self.run(self.store.reads.version())
        self.expected.clusters[after.id] = result
        self.expected.events[after.id] += events
        self.history[after.id].append(result)
        if decides:
            self.expected.decided[after.id] = result.revision

    def seen(self, name: ClusterId, ago: int) -> Cluster:
        """What some replica has seen of a cluster."""
        history = self.history[name]
        return history[max(0, len(history) - 1 - ago)]

    @initialize()
    def empty(self) -> None:
        async def prepare() -> None:
            await self.redis.flushall()
            await self.redis.hset(self.keys.lease(FENCE.shard), mapping={"holder": "a", "fence": str(FENCE.number)})

        self.run(prepare())

    def limits_of(self, owner: UserId) -> dict[str, Limits]:
        return {f"users/{owner}": Limits(workers=WORKERS_EACH), DEPLOYMENT: Limits(clusters=CLUSTERS_ALL)}

    @rule(target=clusters, owner=owners, alias=aliases, request_id=request_ids, size=sizes)
    def create(self, owner: UserId, alias: str, request_id: str, size: int) -> ClusterId:
        self.made += 1
        spec = Spec(alias=alias, groups=(Group(size=size),))
        cluster = Cluster(id=ClusterId(f"c{self.made}"), owner=owner, created=float(self.made), spec=spec)
        call = self.store.records.create(
            cluster,
            secrets=b"",
            demand=demand_of(cluster),
            limits=self.limits_of(owner),
            request_id=request_id,
            event=CREATED,
        )
        self.history[cluster.id] = [cluster]
        expected = self.expected
        if request_id and (earlier := expected.requests.get((owner, request_id))):
            assert self.run(call) == (expected.clusters[earlier], False)
            return earlier
        if alias and (holder := expected.aliases.get((owner, alias))):
            with pytest.raises(AliasTaken, match=holder):
                self.run(call)
            return holder
        if expected.refuses(owner, 0, size, 1):
            with pytest.raises(QuotaExceeded):
                self.run(call)
            return cluster.id
        result, new = self.run(call)
        assert new
        expected.events[cluster.id] = []
        self.written(cluster, result, "created", decides=True)
        if alias:
            expected.aliases[owner, alias] = cluster.id
        if request_id:
            expected.requests[owner, request_id] = cluster.id
            expected.made_by[cluster.id] = (owner, request_id)
        return cluster.id

    @rule(
        name=clusters,
        ago=st.integers(0, 3),
        size=sizes,
        more=st.integers(0, 3),
        stop=st.sampled_from([False, False, False, True]),
    )
    def change(self, name: ClusterId, ago: int, size: int, more: int, stop: bool) -> None:
        def change(seen: Cluster) -> Cluster:
            spec = replace(seen.spec, groups=(Group(size=size),), stop=seen.spec.stop or stop)
            return replace(seen, spec=spec, targets={"more": more} if more else seen.targets)

        seen = self.seen(name, ago)
        call = self.store.records.change(
            seen, change, demand=demand_of, limits=self.limits_of(seen.owner), event=CHANGED
        )
        before = self.expected.clusters.get(name)
        if _same_wish(change(seen), seen):
            assert self.run(call) == seen  # as far as the caller knows, nothing changes
        elif error := self.refusal(seen, change):
            with pytest.raises(error):
                self.run(call)
        elif before is not None and _same_wish(change(before), before):
            assert self.run(call) == before
        elif before is not None:
            after = change(before)
            if after.spec != before.spec:
                after = replace(after, generation=before.generation + 1)
            self.written(after, self.run(call), "changed", decides=True)
            if stop:
                self.expected.stop(after)

    def refusal(self, seen: Cluster, change: Callable[[Cluster], Cluster]) -> type[Exception] | None:
        """The error with which a change fails."""
        if seen.stopping:
            return ClusterEnded
        if (before := self.expected.clusters.get(seen.id)) is None:
            return ClusterNotFound
        if seen.id in self.expected.stopping:
            return ClusterEnded
        had, wanted = demand_of(before)["workers"], demand_of(change(before))["workers"]
        more = self.expected.refuses(before.owner, had, wanted, 0)
        return QuotaExceeded if more else None

    @rule(
        name=clusters,
        ago=st.sampled_from([0, 0, 0, 1, 2]),
        phase=st.sampled_from(Phase),
        workers=names,
        fence=st.sampled_from([FENCE, FENCE, FENCE, Fence(3, 10)]),
    )
    def save_status(self, name: ClusterId, ago: int, phase: Phase, workers: set[WorkerId], fence: Fence) -> None:
        seen, before = self.seen(name, ago), self.expected.clusters.get(name)
        status = Status(phase=phase, message=f"it is {phase}", ended=float(self.made) if phase.ended else None)
        records = {worker_id: worker(worker_id, message=str(phase)) for worker_id in sorted(workers)}
        decided = replace(seen, status=status, workers=records)
        call = self.store.records.save_status(seen, decided, fence=fence, events=[SAVED, SAVED])
        if fence != FENCE:
            with pytest.raises(FencedOff):
                self.run(call)
        elif before is None:
            with pytest.raises(ClusterNotFound):
                self.run(call)
        elif before.status.phase.ended or seen.revision < self.expected.decided[name]:
            with pytest.raises(StaleEtag):
                self.run(call)
        else:
            result = self.run(call)
            self.written(replace(before, status=status, workers=records), result, "saved", "saved", decides=True)
            if phase.ended or phase is Phase.STOPPING:
                self.expected.stop(result)

    @rule(
        name=clusters,
        ago=st.integers(0, 2),
        session=st.integers(1, 3),
        sequence=st.integers(1, 3),
        joined=names,
        retired=names,
        left=names,
    )
    def save_report(
        self,
        name: ClusterId,
        ago: int,
        session: int,
        sequence: int,
        joined: set[WorkerId],
        retired: set[WorkerId],
        left: set[WorkerId],
    ) -> None:
        report = Report(
            session=session,
            sequence=sequence,
            connected=True,
            joined=dict.fromkeys(joined, f"tls://{session}"),
            retired=frozenset(retired),
            departures={worker_id: Departure(tasks_lost=sequence) for worker_id in left},
        )
        call = self.store.records.save_report(self.seen(name, ago), report)
        before = self.expected.clusters.get(name)
        if before is None:
            with pytest.raises(ClusterNotFound):
                self.run(call)
        elif before.status.phase.ended:
            with pytest.raises(ClusterEnded):
                self.run(call)
        elif (session, sequence) < (before.report.session, before.report.sequence):
            with pytest.raises(SessionReplaced):
                self.run(call)
        else:
            self.written(replace(before, report=report), self.run(call))

    @rule(name=consumes(clusters))
    def remove(self, name: ClusterId) -> None:
        self.run(self.store.records.remove(name))
        before = self.expected.clusters.get(name)
        if before is not None and before.status.phase.ended:
            del self.expected.clusters[name]
            del self.expected.events[name]
            if (request := self.expected.made_by.get(name)) and self.expected.requests[request] == name:
                del self.expected.requests[request]

    def teardown(self) -> None:
        try:
            self.run(self.compare())
        finally:
            self.run(self.redis.aclose())
            self.loop.close()

    async def compare(self) -> None:
        """Everything that can be asked has the dict's answer."""
        expected = self.expected.clusters
        reads = self.store.reads
        for subject, owner in ((DEPLOYMENT, None), ("users/ann", UserId("ann")), ("users/bob", UserId("bob"))):
            assert await self.store.usage(subject) == self.expected.usage(owner)
        assert set(await reads.ids()) == expected.keys()
        ended = [cluster.id for cluster in expected.values() if cluster.status.phase.ended]
        assert sorted(await reads.ended_before(1e9, 100)) == sorted(ended)
        for age in range(4):  # whatever a replica has seen, it reads what has changed since
            seen = {name: self.seen(name, age) for name in self.history}
            found = await reads.differing(seen)
            unchanged = {name: cluster for name, cluster in seen.items() if name not in found}
            changed = {name: stored.cluster for name, stored in found.items() if isinstance(stored, StoredCluster)}
            assert unchanged | changed == expected
        for name, messages in self.expected.events.items():
            assert [event.message for event in await self.store.events.list(name)] == messages
        keys = [key.decode() async for key in self.redis.scan_iter()]
        lasting = {key for key in keys if await self.redis.ttl(key) == -1}
        assert {key for key in lasting if not self.keys.permanent(key)} <= {self.keys.lease(FENCE.shard)}


def _same_wish(one: Cluster, other: Cluster) -> bool:
    return (one.spec, one.targets) == (other.spec, other.targets)


def test_the_store_answers_as_a_dict_would(redis_url: str) -> None:
    StoreMachine.redis_url = redis_url
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=60, stateful_step_count=40))
