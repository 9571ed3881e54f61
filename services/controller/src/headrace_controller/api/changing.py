"""What users do to clusters: create, scale, adapt, stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.errors import ClusterEnded
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.requests import NewCluster
from headrace_controller.clusters.access import Access, check_owner
from headrace_controller.clusters.admission import Admission
from headrace_controller.clusters.authorities import Authorities
from headrace_controller.clusters.groups import with_group, within
from headrace_controller.clusters.identifiers import new_cluster_id
from headrace_controller.model import AdaptRange, Cluster, ClusterId, EndReason, Event, Group, Spec, UserId
from headrace_controller.store import Store

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Target:
    """A worker group to change, and the version of its cluster that the caller has seen ("": does not mind)."""

    cluster: str
    group: str
    etag: str = ""


class Clusters:
    """Changes what is wanted; `changed` tells the rest of this replica at once."""

    def __init__(
        self,
        store: Store,
        access: Access,
        admission: Admission,
        authorities: Authorities,
        *,
        changed: Callable[[Cluster], None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._access = access
        self._admission = admission
        self._authorities = authorities
        self._changed = changed
        self._clock = clock

    async def create(self, wish: NewCluster, caller: Caller) -> Cluster:
        """Records a cluster, or returns the one that the request id or the alias already stands for."""
        cluster = Cluster(id=new_cluster_id(), owner=UserId(caller.user), created=self._clock(), spec=wish.spec)
        demand = self._admission.demand(wish.spec)
        record, made = await self._store.create(
            cluster,
            secrets=await self._authorities.create(cluster.id),
            demand=demand,
            limits=self._admission.limits(cluster.owner, cluster.id),
            request_id=wish.request_id,
            must_create=wish.must_create,
            event=self._event("Created", f"Created by {caller.user}."),
        )
        if made:
            self._changed(record)
        else:
            self._authorities.forget(cluster.id)
        return record

    async def scale(self, target: Target, size: int, caller: Caller) -> Cluster:
        """Sets the size of a group and ends its adaptive scaling."""
        said = f"{caller.user} asked for {_count(size)} in group {target.group!r}."
        return await self._change_group(
            target, caller, lambda old: replace(old, size=size, adapt=None), self._event("ScaleRequested", said)
        )

    async def adapt(self, target: Target, adapt: AdaptRange | None, caller: Caller) -> Cluster:
        """Lets the size of a group follow the load, or ends that."""
        if adapt is None:
            said = f"{caller.user} ended adaptive scaling of group {target.group!r}."
        else:
            bounds = f"{adapt.minimum} to {_count(adapt.maximum)}"
            said = f"{caller.user} asked for {bounds} in group {target.group!r}, as the load asks."

        def change(old: Group) -> Group:
            return replace(old, adapt=adapt, size=within(adapt, old.size) if adapt else old.wanted)

        return await self._change_group(target, caller, change, self._event("AdaptRequested", said))

    async def stop(self, name: str, caller: Caller) -> Cluster:
        """Ends a cluster; one that is ending is returned as it is."""
        cluster = await self._access.get(name, caller)
        return await self._stop(cluster.id, cluster.owner, caller.user)

    async def stop_all(self, owner: UserId, caller: Caller) -> list[ClusterId]:
        """Ends all living clusters of an owner; returns which."""
        check_owner(owner, caller)
        stopped = await self._store.ids(owner, living=True)
        for cluster in stopped:
            await self._stop(cluster, owner, caller.user)
        return stopped

    async def _stop(self, cluster: ClusterId, owner: UserId, by: str) -> Cluster:
        event = self._event("StopRequested", f"{by} asked for the end.")
        try:
            return await self._change(
                cluster, owner, lambda spec: replace(spec, stop=spec.stop or EndReason.USER), "", event
            )
        except ClusterEnded:
            return await self._store.get(cluster)

    async def _change_group(
        self, target: Target, caller: Caller, change: Callable[[Group], Group], event: Event
    ) -> Cluster:
        cluster = await self._access.get(target.cluster, caller)
        return await self._change(
            cluster.id, cluster.owner, lambda spec: with_group(spec, target.group, change), target.etag, event
        )

    async def _change(
        self, cluster: ClusterId, owner: UserId, change: Callable[[Spec], Spec], etag: str, event: Event
    ) -> Cluster:
        record = await self._store.change_spec(
            cluster,
            change,
            etag=etag,
            demand=self._admission.demand,
            limits=self._admission.limits(owner, cluster),
            event=event,
        )
        self._changed(record)
        return record

    def _event(self, kind: str, message: str) -> Event:
        return Event(type=kind, message=message, time=self._clock())


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
