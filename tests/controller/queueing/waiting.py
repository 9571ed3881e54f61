"""Clusters that wait, and a replica that admits them, on a real store with a policy of the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import time
from typing import Any

from redis.asyncio import Redis
from tests.controller.builders import event, new_cluster

from headrace.errors import QuotaExceeded
from headrace_chassis.redis.keys import Prefix
from headrace_controller.admission import Admission
from headrace_controller.api.worker_groups import scaled
from headrace_controller.keys import Keys
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Demand, Group, Phase, Status
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import build_profiles
from headrace_controller.queueing.limit_exceptions import LimitExceptions
from headrace_controller.queueing.lowering import Lowering
from headrace_controller.queueing.order import Order
from headrace_controller.queueing.recharging import Recharging
from headrace_controller.queueing.serving import Serving
from headrace_controller.store import Fence, Store

FENCE = Fence(0, 7)


def policy(**limits: Any) -> PolicyFile:
    """A policy that queues; a scheduler counts as nothing."""
    scheduler = {"cores": 0, "memory_bytes": 0}
    return PolicyFile.model_validate({"limits": {"on_create": "queue", **limits}, "scheduler": scheduler})


class Replica:
    """The queue's part of a controller."""

    def __init__(self, redis: Redis, policy: PolicyFile) -> None:
        self.over_budget: set[str] = set()
        self.known: set[str] = set()
        self.store = Store(redis, Keys(Prefix("test")))
        self.mirror = ClusterMirror(self.store)
        self.exceptions = LimitExceptions(self.store, clock=lambda: time() + self.later)
        self.admission = Admission(
            policy, build_profiles(policy, {"only": ()}), self.check_growth, self.exceptions.apply
        )
        self.order = Order(clock=time)
        self.mirror.connect(self.order)
        self.told: list[ClusterId] = []
        self.serving = Serving(
            self.store,
            self.mirror,
            self.admission,
            self.order,
            own=lambda _: True,
            wake=self.told.append,
            budgets_known=self.budgets_known,
            clock=time,
        )
        self.owned: set[ClusterId] | None = None  # where limits are lowered; None: all
        self.later = 0.0  # seconds by which the time of lowered limits, and of exceptions, is ahead
        self.lowering = Lowering(
            self.store, self.mirror, self.admission, own=self.owns, clock=lambda: time() + self.later
        )
        self.recharging = Recharging(self.store, self.mirror, self.admission, self.living)
        self.exceptions.on_change(self.serving.follow)
        self.exceptions.on_change(self.lowering.follow)

    def owns(self, cluster: ClusterId) -> bool:
        return self.owned is None or cluster in self.owned

    def living(self) -> Sequence[ClusterId]:
        return self.mirror.ids(living=True)

    def follow(self, policy: PolicyFile) -> None:
        """Take up another policy."""
        self.admission.follow(policy)
        self.serving.follow(policy)
        self.recharging.follow(policy)

    async def budgets_known(self, owner: str, _groups: Sequence[str]) -> None:
        self.known.add(owner)

    def check_growth(self, cluster: Cluster, _demand: Demand) -> None:
        if cluster.owner in self.known & self.over_budget:
            raise QuotaExceeded("the budget is used up")

    async def load(self) -> None:
        """Read what others have written."""
        for cluster in await self.store.reads.ids():
            self.mirror.apply(await self.store.reads.get(cluster))

    async def create(
        self,
        owner: str = "ann",
        size: int = 0,
        *,
        groups: Sequence[str] = (),
        timeout: float | None = None,
        traceparent: str = "",
        **spec: Any,
    ) -> Cluster:
        """Ask for a cluster."""
        asked = new_cluster(owner=owner, groups=(Group(size=size),), profile="default", **spec)
        asked = replace(asked, groups=tuple(groups), status=Status(traceparent=traceparent))
        cluster, _ = await self.store.records.create(
            asked,
            secrets=b"",
            demand=self.admission.demand(asked),
            limits=self.admission.limits(asked),
            queue=self.admission.queue(asked, timeout),
            event=event(),
        )
        self.mirror.apply(cluster)
        return cluster

    async def scale(self, cluster: Cluster, size: int, group: str = "default") -> Cluster:
        """Ask for a number of workers."""
        seen = await self.store.reads.get(cluster.id)
        return await self.change(seen, partial(scaled, name=group, size=size))

    async def change(self, seen: Cluster, change: Callable[[Cluster], Cluster]) -> Cluster:
        """Change a cluster, as its users do."""
        changed = await self.store.records.change(
            seen,
            change,
            demand=self.admission.demand,
            limits=self.admission.limits(seen),
            growth=self.admission.growth,
        )
        self.mirror.apply(changed)
        return changed

    async def workers(self, *clusters: Cluster) -> list[int]:
        """How many workers each of these is to have, without those that wait."""
        found = [await self.store.reads.get(cluster.id) for cluster in clusters]
        return [sum(map(cluster.desired, cluster.spec.groups)) for cluster in found]

    async def end(self, cluster: Cluster | ClusterId) -> None:
        """End a cluster, as its reconciler does."""
        seen = await self.store.reads.get(cluster if isinstance(cluster, str) else cluster.id)
        ended = replace(seen, status=Status(phase=Phase.STOPPED, ended=1.0))
        self.mirror.apply(await self.store.records.save_status(seen, ended, fence=FENCE))

    async def waits(self, *clusters: Cluster) -> list[bool]:
        """Whether each of these waits."""
        found = [await self.store.reads.get(cluster.id) for cluster in clusters]
        return [cluster.begun is None and not cluster.status.phase.ended for cluster in found]

    async def refused(self, owner: str = "ann", size: int = 0, **facts: Any) -> QuotaExceeded:
        """Ask for a cluster that is refused."""
        try:
            await self.create(owner, size, **facts)
        except QuotaExceeded as error:
            return error
        raise AssertionError("it was not refused")
