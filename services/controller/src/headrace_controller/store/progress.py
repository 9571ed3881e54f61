"""Writes that tell what became of a cluster: status, report, events, removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from headrace.errors import ClusterEnded, FencedOff, StaleEtag
from headrace.resource_names import cluster_name
from headrace_controller.model import Cluster, ClusterId, Event, Phase, Report, UserId
from headrace_controller.store.codec import pack, pack_order, unpack_cluster, unpack_report
from headrace_controller.store.connected import Answer, not_found, record_script
from headrace_controller.store.records import Records
from headrace_controller.store.values import Fence, RouteRecord

_save_status = record_script("save_status")
_save_report = record_script("save_report")
_add_event = record_script("add_event")
_remove = record_script("remove")


class Progress(Records):
    """The part of the store that writes status, report and events."""

    async def save_status(self, cluster: Cluster, *, fence: Fence, events: Sequence[Event] = ()) -> Cluster:
        """Saves the cluster's status; its end frees usage, alias and route.

        Returns the cluster with what others wrote meanwhile. Raises `ClusterNotFound`, `FencedOff`, and `StaleEtag`
        when spec or status were written since it was read.
        """
        status = cluster.status
        arguments = [
            fence.number,
            cluster.revision,
            cluster.generation,
            pack(status),
            repr(status.ended or cluster.created) if status.phase.ended else "",
            int(status.phase.ended or status.phase is Phase.STOPPING),
            *map(pack, events),
        ]
        key = self._keys.lease(fence.shard)
        answer: Answer = await self._run_on(_save_status, cluster.id, cluster.owner, arguments, key=key)
        match answer:
            case [b"done", revision]:
                return self._see(replace(cluster, revision=revision))
            case [b"done", revision, report, route_version]:
                return self._see(replace(cluster, revision=revision, report=unpack_report(report, route_version)))
            case [b"gone"]:
                raise not_found(cluster.id)
            case [b"fenced"]:
                raise FencedOff(f"shard {fence.shard} is another replica's now; {cluster_name(cluster.id)} is its task")
            case _:
                raise StaleEtag(f"{cluster_name(cluster.id)} has changed since it was read; plan again")

    async def save_report(self, cluster: ClusterId, report: Report, *, events: Sequence[Event] = ()) -> Cluster:
        """Saves what the agent reported, and its route when the addresses are new.

        Raises `ClusterNotFound`, `ClusterEnded`, `FencedOff` when a newer (session, sequence) is known.
        """
        owner = await self._owner(cluster)
        route = RouteRecord(
            cluster=cluster,
            owner=owner,
            scheduler_address=report.scheduler_address,
            dashboard_address=report.dashboard_address,
        )
        packed = pack(report)
        arguments = [pack_order(report), packed, pack(route) if report.scheduler_address else "", *map(pack, events)]
        answer: Answer = await self._run_on(_save_report, cluster, owner, arguments)
        match answer:
            case [b"done", created, generation, revision, spec, status, version]:
                fields = [owner.encode(), created, generation, revision, spec, status, packed, version]
                return self._see(cast("Cluster", unpack_cluster(cluster, fields)))
            case [b"gone"]:
                raise not_found(cluster)
            case [b"ended"]:
                raise ClusterEnded(f"{cluster_name(cluster)} has ended; its scheduler is to end too")
            case _:
                raise FencedOff(f"a newer session of {cluster_name(cluster)} has reported; this one is over")

    async def add_event(self, cluster: ClusterId, owner: UserId, event: Event) -> Event:
        """Adds an event; returns it with its id. Raises `ClusterNotFound`."""
        event_id = cast("bytes | None", await self._run_on(_add_event, cluster, owner, [pack(event)]))
        if event_id is None:
            raise not_found(cluster)
        return replace(event, id=event_id.decode())

    async def remove(self, cluster: ClusterId) -> None:
        """Removes an ended cluster's record and events; one that lives is left alone."""
        record = self._keys.record(cluster)
        owner, request = cast("list[bytes | None]", await self._ask("HMGET", record, "owner", "request"))
        if owner is None or request is None:
            return
        user = UserId(owner.decode())
        await self._run_on(_remove, cluster, user, [], key=self._keys.request(user, request.decode()))
        self._owners.pop(cluster, None)
        self.doubt(cluster)
