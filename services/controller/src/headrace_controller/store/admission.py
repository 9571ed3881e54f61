"""Writes that promise something: what the owner wants, checked against the limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from headrace.errors import AliasTaken, ClusterEnded, QuotaExceeded, StaleEtag
from headrace.resource_names import cluster_name
from headrace_controller.model import Cluster, ClusterId, Demand, Event, Limits, Phase, Spec
from headrace_controller.store.codec import pack, pack_demand, unpack_report, unpack_status
from headrace_controller.store.connected import Answer, not_found, record_script
from headrace_controller.store.limits import Bounds
from headrace_controller.store.records import Records

REQUEST_SECONDS = 86_400

_create = record_script("create")
_change_spec = record_script("change_spec")


class Admission(Records):
    """The part of the store that writes specs."""

    async def create(
        self,
        cluster: Cluster,
        *,
        secrets: bytes,
        demand: Demand,
        limits: Mapping[str, Limits],
        request_id: str = "",
        must_create: bool = False,
        event: Event,
    ) -> tuple[Cluster, bool]:
        """Records a cluster; returns it and True, or the one of the same request id or alias and False.

        `limits` by subject: ``users/{user}``, ``clusters/{cluster}``, `DEPLOYMENT`. The first that binds is named.
        Raises `QuotaExceeded`, and `AliasTaken` with `must_create`.
        """
        bounds = Bounds(limits)
        answer = await self._record(
            cluster,
            secrets=secrets,
            demand=demand,
            bounds=bounds,
            if_taken="refuse" if must_create else "share",
            request_id=request_id,
            events=[event],
        )
        match answer:
            case [b"made", revision]:
                return self._see(replace(cluster, revision=revision)), True
            case [b"found", found]:
                existing = await self.get(ClusterId(found.decode()))
                # The ids are random: if this very one is there, an answer was lost on the way and the call repeated.
                return existing, existing.id == cluster.id
            case [b"taken", holder]:
                holder = cluster_name(holder.decode())
                raise AliasTaken(
                    f"{holder} has the name {cluster.spec.alias!r}; use that cluster, stop it, or choose another name",
                    {"cluster": holder},
                )
            case _:
                raise _refused(answer, bounds, demand)

    async def adopt(self, cluster: Cluster, secrets: bytes, *, demand: Demand) -> bool:
        """Records a cluster that was found running with the store empty; no limit binds. False: it is known."""
        answer = await self._record(cluster, secrets=secrets, demand=demand, bounds=Bounds({}), if_taken="yield")
        return answer[0] == b"made"

    async def _record(
        self,
        cluster: Cluster,
        *,
        secrets: bytes,
        demand: Demand,
        bounds: Bounds,
        if_taken: Literal["share", "refuse", "yield"],
        request_id: str = "",
        events: Sequence[Event] = (),
    ) -> Answer:
        self._know_owner(cluster.id, cluster.owner)
        self.doubt(cluster.id)
        arguments = [
            repr(cluster.created),
            pack(cluster.spec),
            pack(cluster.status),
            pack(cluster.report),
            secrets,
            *pack_demand(demand),
            cluster.spec.alias,
            if_taken,
            request_id,
            REQUEST_SECONDS,
            cluster.generation,
            *bounds.arguments(),
            *map(pack, events),
        ]
        key = self._keys.request(cluster.owner, request_id)
        return await self._run_on(_create, cluster.id, cluster.owner, arguments, key=key)

    async def change_spec(
        self,
        cluster: ClusterId,
        change: Callable[[Spec], Spec],
        *,
        etag: str = "",
        demand: Callable[[Spec], Demand],
        limits: Mapping[str, Limits],
        event: Event | None = None,
    ) -> Cluster:
        """Changes the spec, from the start again if somebody else was faster; without a difference nothing is written.

        Raises `ClusterNotFound`, `ClusterEnded` (also while stopping), `StaleEtag`, `QuotaExceeded`, and what
        `change` raises.
        """
        changed = None
        while changed is None:
            seen = await self.get(cluster)
            if etag and etag != str(seen.revision):
                raise _stale(cluster)
            spec = change(seen.spec)
            if spec == seen.spec:
                return seen
            if seen.spec.stop is not None or seen.status.phase is Phase.STOPPING or seen.status.phase.ended:
                raise _ended(cluster)
            events = () if event is None else (event,)
            changed = await self._save_spec(replace(seen, spec=spec), etag, demand(spec), Bounds(limits), events=events)
        return changed

    async def _save_spec(
        self, cluster: Cluster, etag: str, demand: Demand, bounds: Bounds, *, events: Sequence[Event]
    ) -> Cluster | None:
        """Saves the spec of a cluster; None if another one was saved since it was read."""
        arguments = [
            cluster.generation,
            etag,
            pack(cluster.spec),
            *pack_demand(demand),
            int(cluster.spec.stop is not None),
            *bounds.arguments(),
            *map(pack, events),
        ]
        answer: Answer = await self._run_on(_change_spec, cluster.id, cluster.owner, arguments)
        match answer:
            case [b"done", generation, revision, status, report, route_version]:
                changed = replace(
                    cluster,
                    generation=generation,
                    revision=revision,
                    status=unpack_status(status),
                    report=unpack_report(report, route_version),
                )
                return self._see(changed)
            case [b"again"]:
                return None
            case [b"gone"]:
                raise not_found(cluster.id)
            case [b"ended"]:
                raise _ended(cluster.id)
            case [b"stale"]:
                raise _stale(cluster.id)
            case _:
                raise _refused(answer, bounds, demand)


def _refused(answer: Answer, bounds: Bounds, demand: Demand) -> QuotaExceeded:
    _, which, resource, used, had = answer
    return bounds.exceeded(which, resource, int(used), int(had), demand)


def _ended(cluster: ClusterId) -> ClusterEnded:
    return ClusterEnded(f"{cluster_name(cluster)} is ending or has ended; make a new one")


def _stale(cluster: ClusterId) -> StaleEtag:
    return StaleEtag(f"{cluster_name(cluster)} has changed since it was read; read it again, then write")
