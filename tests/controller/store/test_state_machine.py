"""Whatever is written in whatever order, the store says what a dict would say."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule, run_state_machine_as_test

from headrace.errors import AliasTaken, ClusterEnded, ClusterNotFound, FencedOff, QuotaExceeded
from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import (
    Cluster,
    ClusterId,
    Demand,
    EndReason,
    Event,
    Group,
    Limits,
    Phase,
    Report,
    Spec,
    Status,
    UserId,
)
from headrace_controller.store import Fence, Store

T = TypeVar("T")
FENCE = Fence(3, 11)
WORKERS_EACH = 12
CLUSTERS_ALL = 8

owners = st.sampled_from([UserId("ann"), UserId("bob")])
aliases = st.sampled_from(["", "", "etl", "training"])
request_ids = st.sampled_from(["", "", "r1", "r2", "r3"])
sizes = st.integers(0, 8)


def demand_of(spec: Spec) -> Demand:
    size = spec.groups[0].size
    return Demand(clusters=1, workers=size, cores_milli=500 * size, memory_bytes=1000 + size)


@dataclass
class Expected:
    """The store as a dict."""

    clusters: dict[ClusterId, Cluster] = field(default_factory=dict[ClusterId, Cluster])
    aliases: dict[tuple[UserId, str], ClusterId] = field(default_factory=dict[tuple[UserId, str], ClusterId])
    requests: dict[tuple[UserId, str], ClusterId] = field(default_factory=dict[tuple[UserId, str], ClusterId])
    made_by: dict[ClusterId, tuple[UserId, str]] = field(default_factory=dict[ClusterId, tuple[UserId, str]])
    events: dict[ClusterId, list[str]] = field(default_factory=dict[ClusterId, list[str]])

    def usage(self, owner: UserId | None) -> Demand:
        promised = [
            demand_of(cluster.spec)
            for cluster in self.clusters.values()
            if not cluster.status.phase.ended and owner in {None, cluster.owner}
        ]
        return Demand(
            clusters=len(promised),
            workers=sum(demand.workers for demand in promised),
            cores_milli=sum(demand.cores_milli for demand in promised),
            memory_bytes=sum(demand.memory_bytes for demand in promised),
        )

    def refuses(self, owner: UserId, old: int, new: int, clusters: int) -> bool:
        workers = self.usage(owner).workers + new - old > WORKERS_EACH and new > old
        return workers or (clusters > 0 and self.usage(None).clusters + clusters > CLUSTERS_ALL)

    def write(self, cluster: Cluster, *events: str) -> None:
        self.clusters[cluster.id] = replace(cluster, revision=cluster.revision + 1)
        self.events[cluster.id] += events

    def free_alias(self, cluster: Cluster) -> None:
        if self.aliases.get((cluster.owner, cluster.spec.alias)) == cluster.id:
            del self.aliases[cluster.owner, cluster.spec.alias]


class StoreMachine(RuleBasedStateMachine):
    """Calls the store and the dict side by side."""

    redis_url = ""
    clusters: Bundle[ClusterId] = Bundle("clusters")

    def __init__(self) -> None:
        super().__init__()
        self.expected = Expected()
        self.made = 0
        self.loop = asyncio.new_event_loop()
        self.redis = connect(self.redis_url)
        self.keys = Keys(Prefix("machine"))
        self.store = Store(self.redis, self.keys)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    @initialize()
    def empty(self) -> None:
        async def prepare() -> None:
            await self.redis.flushall()
            await self.redis.hset(self.keys.lease(FENCE.shard), mapping={"holder": "a", "fence": str(FENCE.number)})

        self.run(prepare())

    def limits_of(self, owner: UserId) -> dict[str, Limits]:
        return {f"users/{owner}": Limits(workers=WORKERS_EACH), "deployment": Limits(clusters=CLUSTERS_ALL)}

    @rule(target=clusters, owner=owners, alias=aliases, request_id=request_ids, size=sizes, must_create=st.booleans())
    def create(self, owner: UserId, alias: str, request_id: str, size: int, must_create: bool) -> ClusterId:
        self.made += 1
        spec = Spec(alias=alias, groups=(Group(size=size),))
        cluster = Cluster(id=ClusterId(f"c{self.made}"), owner=owner, created=float(self.made), spec=spec)
        call = self.store.create(
            cluster,
            secrets=b"",
            demand=demand_of(spec),
            limits=self.limits_of(owner),
            request_id=request_id,
            must_create=must_create,
            event=Event(type="Created", message=""),
        )
        expected = self.expected
        earlier = expected.requests.get((owner, request_id)) if request_id else None
        holder = expected.aliases.get((owner, alias)) if alias else None
        if earlier is None and holder is not None and must_create:
            with pytest.raises(AliasTaken):
                self.run(call)
            return holder
        if (found := earlier or holder) is not None:
            if found not in expected.clusters:  # made by way of an alias, and removed since
                with pytest.raises(ClusterNotFound):
                    self.run(call)
                return found
            assert self.run(call) == (expected.clusters[found], False)
            if request_id:
                expected.requests[owner, request_id] = found
            return found
        if expected.refuses(owner, 0, size, 1):
            with pytest.raises(QuotaExceeded):
                self.run(call)
            return cluster.id
        assert self.run(call) == (cluster, True)
        expected.clusters[cluster.id], expected.events[cluster.id] = cluster, ["Created"]
        if alias:
            expected.aliases[owner, alias] = cluster.id
        if request_id:
            expected.requests[owner, request_id] = cluster.id
            expected.made_by[cluster.id] = (owner, request_id)
        return cluster.id

    @rule(name=clusters, size=sizes, stop=st.sampled_from([None, None, None, EndReason.USER]))
    def change_spec(self, name: ClusterId, size: int, stop: EndReason | None) -> None:
        def change(spec: Spec) -> Spec:
            return replace(spec, groups=(Group(size=size),), stop=spec.stop or stop)

        event = Event(type="Changed", message="")
        owner = self.expected.clusters[name].owner if name in self.expected.clusters else UserId("ann")
        call = self.store.change_spec(name, change, demand=demand_of, limits=self.limits_of(owner), event=event)
        before = self.expected.clusters.get(name)
        if before is None:
            with pytest.raises(ClusterNotFound):
                self.run(call)
        elif change(before.spec) == before.spec:
            assert self.run(call) == before
        elif before.spec.stop or before.status.phase in {Phase.STOPPING, Phase.STOPPED, Phase.FAILED}:
            with pytest.raises(ClusterEnded):
                self.run(call)
        elif self.expected.refuses(owner, before.spec.groups[0].size, size, 0):
            with pytest.raises(QuotaExceeded):
                self.run(call)
        else:
            after = replace(before, spec=change(before.spec), generation=before.generation + 1)
            self.expected.write(after, "Changed")
            if stop:
                self.expected.free_alias(after)
            assert self.run(call) == self.expected.clusters[name]

    @rule(name=clusters, phase=st.sampled_from(Phase), fence=st.sampled_from([FENCE, FENCE, FENCE, Fence(3, 10)]))
    def save_status(self, name: ClusterId, phase: Phase, fence: Fence) -> None:
        before = self.expected.clusters.get(name)
        if before is None or before.status.phase.ended:
            return
        status = Status(phase=phase, message=f"it is {phase}", ended=float(self.made) if phase.ended else None)
        after = replace(before, status=status)
        call = self.store.save_status(after, fence=fence, events=[Event(type="Saved", message="")] * 2)
        if fence != FENCE:
            with pytest.raises(FencedOff):
                self.run(call)
            return
        self.expected.write(after, "Saved", "Saved")
        if phase.ended or phase is Phase.STOPPING:
            self.expected.free_alias(after)
        assert self.run(call) == self.expected.clusters[name]

    @rule(name=clusters, session=st.integers(1, 3), sequence=st.integers(1, 3), clients=st.integers(0, 9))
    def save_report(self, name: ClusterId, session: int, sequence: int, clients: int) -> None:
        report = Report(session=session, sequence=sequence, clients=clients, connected=True)
        call = self.store.save_report(name, report)
        before = self.expected.clusters.get(name)
        if before is None:
            with pytest.raises(ClusterNotFound):
                self.run(call)
        elif before.status.phase.ended:
            with pytest.raises(ClusterEnded):
                self.run(call)
        elif (session, sequence) < (before.report.session, before.report.sequence):
            with pytest.raises(FencedOff):
                self.run(call)
        else:
            self.expected.write(replace(before, report=report))
            assert self.run(call) == self.expected.clusters[name]

    @rule(name=consumes(clusters))
    def remove(self, name: ClusterId) -> None:
        self.run(self.store.remove(name))
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
        for owner in (None, UserId("ann"), UserId("bob")):
            mine = [c for c in reversed(expected.values()) if owner in {None, c.owner}]
            assert await self.store.ids(owner) == [c.id for c in mine]
            assert await self.store.ids(owner, living=True) == [c.id for c in mine if not c.status.phase.ended]
            assert await self.store.ids(owner, living=False) == [c.id for c in mine if c.status.phase.ended]
            assert await self.store.usage(owner) == self.expected.usage(owner)
        assert await self.store.get_many(list(expected)) == list(expected.values())
        for name, events in self.expected.events.items():
            assert [event.type for event in await self.store.events(name)] == events
        for (owner, alias), name in self.expected.aliases.items():
            assert await self.store.by_alias(owner, alias) == name
        keys = [key.decode() async for key in self.redis.scan_iter()]
        lasting = {key for key in keys if await self.redis.ttl(key) == -1}
        assert {key for key in lasting if not self.keys.permanent(key)} <= {self.keys.lease(FENCE.shard)}


def test_the_store_says_what_a_dict_would_say(redis_url: str) -> None:
    StoreMachine.redis_url = redis_url
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
