"""Whatever is written, missed or lost, in whatever order: mirrors over one Redis converge, and fresh means fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.controller.builders import event, new_cluster, worker
from tests.controller.emptying import empty
from tests.controller.mirror.mirrors import Replica, replica, retagged

from headrace.errors import AliasTaken, ClusterEnded, ClusterNotFound, SessionReplaced, StaleEtag
from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, Demand, Phase, Report, Status, WorkerId
from headrace_controller.store import Fence

T = TypeVar("T")
FENCE = Fence(0, 7)

who = st.sampled_from([0, 1])
which = st.integers(0, 4)
worker_ids = st.sets(st.sampled_from([WorkerId(f"default-{n}-a") for n in range(1, 5)]))


class MirrorMachine(RuleBasedStateMachine):
    """Two replicas write as the controller does: from what their mirror has."""

    redis_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.redis = connect(self.redis_url)
        self.stack.push_async_callback(self.redis.aclose)
        self.keys = Keys(Prefix("mirrors"))
        self.replicas: list[Replica] = []
        self.made = 0

    def run(self, call: Awaitable[T]) -> T:
        return self.loop.run_until_complete(call)

    @initialize()
    def start(self) -> None:
        async def prepare() -> None:
            await self.redis.flushall()
            await self.lease()
            for _ in range(2):
                self.replicas.append(await self.stack.enter_async_context(replica(self.redis_url, self.keys)))

        self.run(prepare())

    async def lease(self) -> None:
        await self.redis.hset(self.keys.lease(FENCE.shard), mapping={"holder": "a", "fence": str(FENCE.number)})

    def write(
        self, who: int, name: ClusterId, write: Callable[[Replica, Cluster], Coroutine[Any, Any, Cluster]]
    ) -> None:
        """Writes from what a replica has; a write that fails leaves its mirror as it was."""
        replica = self.replicas[who]
        if (seen := replica.mirror.get(name)) is None:
            return
        try:
            replica.mirror.apply(self.run(write(replica, seen)))
        except (ClusterEnded, ClusterNotFound, SessionReplaced, StaleEtag):
            return

    @rule(who=who)
    def create(self, who: int) -> None:
        self.made += 1
        store = self.replicas[who].store
        call = store.records.create(
            new_cluster(f"c{self.made}", alias="etl" if self.made % 4 == 0 else ""),
            secrets=b"",
            demand=Demand(clusters=1),
            limits={},
            request_id=f"r{self.made}",
            event=event(),
        )
        try:
            cluster, _ = self.run(call)
        except AliasTaken:
            return
        self.replicas[who].mirror.apply(cluster)

    @rule(who=who, which=which, tag=st.sampled_from("abc"))
    def change(self, who: int, which: int, tag: str) -> None:
        async def write(replica: Replica, seen: Cluster) -> Cluster:
            return await replica.store.records.change(
                seen, lambda cluster: retagged(cluster, tag), demand=lambda _: Demand(clusters=1), limits={}
            )

        self.write(who, self.name(which), write)

    @rule(who=who, which=which, sequence=st.integers(1, 5), joined=worker_ids, retired=worker_ids)
    def report(self, who: int, which: int, sequence: int, joined: set[WorkerId], retired: set[WorkerId]) -> None:
        report = Report(
            session=1, sequence=sequence, joined=dict.fromkeys(joined, f"tls://{who}"), retired=frozenset(retired)
        )

        async def write(replica: Replica, seen: Cluster) -> Cluster:
            return await replica.store.records.save_report(seen, report)

        self.write(who, self.name(which), write)

    @rule(who=who, which=which, workers=worker_ids, phase=st.sampled_from([*Phase]))
    def decide(self, who: int, which: int, workers: set[WorkerId], phase: Phase) -> None:
        async def write(replica: Replica, seen: Cluster) -> Cluster:
            decided = replace(
                seen,
                status=Status(phase=phase, ended=1.0 if phase.ended else None),
                workers={name: worker(name, message=phase) for name in sorted(workers)},
            )
            return await replica.store.records.save_status(seen, decided, fence=FENCE)

        self.write(who, self.name(which), write)

    @rule(who=who, which=which)
    def remove(self, who: int, which: int) -> None:
        self.run(self.replicas[who].store.records.remove(self.name(which)))

    @rule()
    def lose_history(self) -> None:
        self.run(self.redis.xtrim(self.keys.changes(), maxlen=0, approximate=False))

    @rule()
    def empty(self) -> None:
        async def lose() -> None:
            await empty(self.redis)
            await self.lease()

        self.run(lose())

    @rule(who=who)
    def settle(self, who: int) -> None:
        """What is fresh is what the store has."""
        replica = self.replicas[who]
        self.run(replica.mirror.fresh())
        assert replica.known() == self.run(replica.stored())

    def name(self, which: int) -> ClusterId:
        """One of the last clusters."""
        return ClusterId(f"c{max(1, self.made - which)}")

    def teardown(self) -> None:
        try:
            for who in range(len(self.replicas)):
                self.settle(who)
        finally:
            self.run(self.stack.aclose())
            self.loop.close()


def test_mirrors_converge(redis_url: str) -> None:
    MirrorMachine.redis_url = redis_url
    run_state_machine_as_test(MirrorMachine, settings=settings(max_examples=25, stateful_step_count=30))
