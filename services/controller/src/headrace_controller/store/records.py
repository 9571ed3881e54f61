"""Writes of records. Each returns the newest record, for the mirror."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from msgspec import Raw, to_builtins

from headrace.errors import AliasTaken, ClusterEnded, SessionReplaced, StaleEtag
from headrace.resource_names import cluster_name, user_name
from headrace_chassis.routes import Route
from headrace_controller.model import Cluster, ClusterId, Demand, Event, Limits, Phase, Report, Status, UserId
from headrace_controller.store.accounts import Accounts
from headrace_controller.store.codec import (
    pack,
    pack_demand,
    pack_order,
    pack_report,
    pack_same,
    text,
    unpack_meter,
    unpack_queued,
)
from headrace_controller.store.connection import Answer, Connection, ledger_script, not_found, record_script
from headrace_controller.store.limits import exceeded, packed_limits
from headrace_controller.store.pieces import changed_reports, changed_workers
from headrace_controller.store.reads import Reads
from headrace_controller.store.values import DEPLOYMENT, ChangeKind, Fence, FencedOff, Growth, QueueRules, shown

REQUEST_SECONDS = 86_400
ARCHIVE_SECONDS = 30 * 86_400

_create = ledger_script("create")
_admit = ledger_script("admit")
_change = ledger_script("change", when_full=True)
_recharge = ledger_script("recharge")
_save_status = ledger_script("save_status", when_full=True)
_save_report = record_script("save_report")
_remove = record_script("remove", when_full=True)
_archive = ledger_script("archive")


class Records:
    """Writes with one Lua script each. `seen` is a record as the writer knows it, which is the newest but for races."""

    def __init__(self, connection: Connection, reads: Reads, accounts: Accounts) -> None:
        self._connection = connection
        self._reads = reads
        self._accounts = accounts

    async def create(
        self,
        cluster: Cluster,
        *,
        secrets: bytes,
        demand: Demand,
        limits: Mapping[str, Limits],
        queue: QueueRules | None = None,
        request_id: str = "",
        event: Event,
    ) -> tuple[Cluster, bool]:
        """Creates a record; returns it and True, or the one that the same request has created and False.

        With `queue`, a cluster that a limit refuses waits until it is admitted; without, `QuotaExceeded` is raised.

        `limits` by subject, in the order in which they are checked: the first that binds is named.
        Raises `QuotaExceeded`, and `AliasTaken` with the name of the living cluster of the owner that has the alias.
        """
        answer = await self._record(
            cluster, secrets, demand, limits, queue=queue, request_id=request_id, events=[event]
        )
        match answer:
            case [b"created", revision, meter, queued]:
                made = replace(cluster, revision=int(revision), meter=unpack_meter(meter))
                if queued:
                    made = replace(made, status=_waiting(cluster), queued=unpack_queued(queued))
                return made, True
            case [b"found", found]:
                existing = await self._reads.get(ClusterId(found.decode()))
                # The ids are random: if this very one is there, an answer was lost on the way and the call repeated.
                return existing, existing.id == cluster.id
            case [b"taken", holder]:
                holder = cluster_name(holder.decode())
                raise AliasTaken(
                    f"{holder} has the name {cluster.spec.alias!r}; use that cluster, stop it, or choose another name",
                    {"cluster": holder},
                )
            case _:
                raise exceeded(demand, answer)

    async def adopt(
        self, cluster: Cluster, *, secrets: bytes, demand: Demand, charged_to: Sequence[str] = ()
    ) -> Cluster | None:
        """Creates the record of a cluster that runs although it was lost. No limit binds. None: there is a record.

        It has used what its meter says: what it was promised since then is added up.
        """
        limits = {subject: Limits() for subject in charged_to}
        answer = await self._record(cluster, secrets, demand, limits, adopt=True)
        if answer[0] != b"created":
            return None
        return replace(cluster, revision=int(answer[1]), meter=unpack_meter(answer[2]))

    async def change(
        self,
        seen: Cluster,
        change: Callable[[Cluster], Cluster],
        *,
        etag: str = "",
        demand: Callable[[Cluster], Demand],
        limits: Mapping[str, Limits],
        growth: Callable[[Cluster, Cluster], Growth | None] = lambda _before, _after: None,
        event: Event | None = None,
    ) -> Cluster:
        """Changes spec or targets; calls `change` again if another write came first; no difference, no write.

        With `growth` of the record before and after, workers that a limit refuses wait for room.

        Raises `ClusterNotFound`, `ClusterEnded` (also while stopping), `StaleEtag`, `QuotaExceeded`, and what `change`
        raises.
        """
        while True:
            if (changed := _changed(seen, change, etag)) is None:
                return seen
            resized = changed.spec.groups != seen.spec.groups or changed.targets != seen.targets
            asked = demand(changed.with_all_granted() if resized else changed)
            waiting = growth(seen, changed) if resized else None
            answer = await self._save_change(
                seen, changed, demand=asked, limits=limits, resized=resized, growth=waiting, event=event
            )
            match answer:
                case [b"done", revision, before, generation, meter, queued]:
                    queued, meter = unpack_queued(queued), unpack_meter(meter)
                    written = replace(
                        changed, revision=int(revision), generation=generation, meter=meter, queued=queued
                    )
                    return await self._complete(seen, written, before)
                case [b"again"]:
                    seen = await self._reads.newest(seen)
                case [b"gone"]:
                    raise not_found(seen.id)
                case [b"ended"]:
                    raise _ended(seen.id)
                case _:
                    raise exceeded(asked, answer)

    async def admit(
        self,
        seen: Cluster,
        *,
        demand: Callable[[Cluster], Demand],
        limits: Callable[[Cluster], Mapping[str, Limits]],
        growth: Callable[[Cluster, Cluster], Growth | None],
        patience: float,
        event: Event,
    ) -> tuple[Cluster | None, str]:
        """Admits a cluster that waits, or some of the workers that it waits for, if no limit refuses it; returns it.

        Otherwise returns None and for whose room it waits, "" if it waits no more. After `patience` seconds, room is
        kept for it.
        """
        while True:
            binding = limits(seen)
            ask = {
                "seen": str(seen.revision),
                "demand": pack_demand(demand(seen.with_all_granted())),
                "growth": to_builtins(growth(seen, seen)),
                "limits": packed_limits(binding),
                "charged_to": _charged_to(seen, binding),
                "account": self._accounts.packed(seen),
                "patience": patience,
            }
            match await self._connection.run_on(_admit, seen.id, seen.owner, ask, events=[event]):
                case [b"admitted", revision, before, meter, queued]:
                    queued, meter = unpack_queued(queued), unpack_meter(meter)
                    written = replace(seen, revision=int(revision), queued=queued, meter=meter)
                    return await self._complete(seen, written, before), ""
                case [b"again"]:
                    seen = await self._reads.newest(seen)
                case [b"refused", subject]:
                    return None, subject.decode()
                case _:
                    return None, ""

    async def recharge(
        self,
        seen: Cluster,
        *,
        demand: Callable[[Cluster], Demand],
        limits: Callable[[Cluster], Mapping[str, Limits]],
    ) -> Cluster | None:
        """Charges a cluster by the policy in force; returns it if it was charged otherwise. No limit binds."""
        while True:
            ask = {
                "seen": str(seen.revision),
                "demand": pack_demand(demand(seen)),
                "charged_to": _charged_to(seen, limits(seen)),
            }
            match await self._connection.run_on(_recharge, seen.id, seen.owner, ask):
                case [b"done", revision, before, meter]:
                    written = replace(seen, revision=int(revision), meter=unpack_meter(meter))
                    return await self._complete(seen, written, before)
                case [b"again"]:
                    seen = await self._reads.newest(seen)
                case _:
                    return None

    async def save_status(
        self, seen: Cluster, decided: Cluster, *, fence: Fence, events: Sequence[Event] = ()
    ) -> Cluster:
        """Saves status and workers as decided from a record; its end frees usage, alias and route.

        Raises `ClusterNotFound`, `FencedOff`, and `StaleEtag` when spec, targets or status were written since.
        """
        status = decided.status
        ask = {
            "fence": str(fence.number),
            "seen": str(seen.revision),
            "status": text(pack(status)),
            "workers": changed_workers(seen.workers, decided.workers),
            "stopping": status.phase.ended or status.phase is Phase.STOPPING,
            "ended": repr(status.ended or seen.created) if status.phase.ended else "",
        }
        keys = {"lease": self._connection.keys.lease(fence.shard)}
        answer = await self._connection.run_on(_save_status, seen.id, seen.owner, ask, keys=keys, events=events)
        match answer:
            case [b"done", revision, before, meter]:
                written = replace(decided, revision=int(revision), meter=unpack_meter(meter))
                return await self._complete(seen, written, before)
            case [b"gone"]:
                raise not_found(seen.id)
            case [b"fenced"]:
                raise FencedOff(f"another replica has the lease of shard {fence.shard} with {cluster_name(seen.id)}")
            case _:
                raise StaleEtag(f"{cluster_name(seen.id)} has changed since it was read; plan again")

    async def save_report(self, seen: Cluster, report: Report, *, events: Sequence[Event] = ()) -> Cluster:
        """Saves what the agent reported, and its route when the addresses are new.

        Raises `ClusterNotFound`, `ClusterEnded`, and `SessionReplaced` when a newer (session, sequence) is known.
        """
        while True:
            match await self._save_report(seen, report, events):
                case [b"done", revision, before, route_version]:
                    report = replace(report, route_version=route_version.decode())
                    return await self._complete(seen, replace(seen, report=report, revision=int(revision)), before)
                case [b"again"]:
                    seen = await self._reads.newest(seen)
                case [b"gone"]:
                    raise not_found(seen.id)
                case [b"ended"]:
                    raise ClusterEnded(f"{cluster_name(seen.id)} has ended; its scheduler must end too")
                case _:
                    raise SessionReplaced(f"a newer session of {cluster_name(seen.id)} has reported; this one is over")

    async def remove(self, cluster: ClusterId) -> None:
        """Removes an ended cluster's record and events; one that lives is left alone."""
        record = self._connection.keys.record(cluster)
        answer = await self._connection.command("HMGET", record, "owner", "request")
        owner, request = cast("list[bytes | None]", answer)
        if owner is None or request is None:
            return
        user = UserId(owner.decode())
        keys = {"request": self._connection.keys.request(user, request.decode())}
        await self._connection.run_on(_remove, cluster, user, {}, keys=keys)

    async def archive(self, cluster: ClusterId, owner: UserId, event: Event) -> None:
        """Takes a record that cannot be read out of use; an administrator finds it under its key in the archive."""
        keys = {
            "archived": self._connection.keys.archived(cluster),
            "archived_workers": self._connection.keys.archived_workers(cluster),
        }
        ask = {"seconds": ARCHIVE_SECONDS}
        await self._connection.run_on(_archive, cluster, owner, ask, keys=keys, events=[event])

    async def created_by(self, owner: UserId, request_id: str) -> Cluster | None:
        """Returns the cluster that a request has created; None if there was no such request within a day."""
        request = self._connection.keys.request(owner, request_id)
        cluster = cast("bytes | None", await self._connection.command("GET", request)) if request_id else None
        return None if cluster is None else await self._reads.get(ClusterId(cluster.decode()))

    async def secrets(self, cluster: ClusterId) -> bytes:
        """Returns what was given at the creation. Raises `ClusterNotFound`."""
        record = self._connection.keys.record(cluster)
        secrets = cast("bytes | None", await self._connection.command("HGET", record, "secrets"))
        if secrets is None:
            raise not_found(cluster)
        return secrets

    async def _complete(self, seen: Cluster, written: Cluster, before: bytes) -> Cluster:
        """The written record, with what others wrote between the read and the write."""
        return written if int(before) == seen.revision else await self._reads.newest(seen)

    async def _record(
        self,
        cluster: Cluster,
        secrets: bytes,
        demand: Demand,
        limits: Mapping[str, Limits],
        *,
        queue: QueueRules | None = None,
        request_id: str = "",
        adopt: bool = False,
        events: Sequence[Event] = (),
    ) -> Answer:
        ask = {
            "created": repr(cluster.created),
            "generation": cluster.generation,
            "groups": text(pack(cluster.groups)),
            "spec": text(pack(cluster.spec)),
            "targets": text(pack(cluster.targets)),
            "status": text(pack(cluster.status)),
            "report": text(pack_report(cluster.report)),
            "secrets": text(secrets),
            "order": pack_order(cluster.report),
            "workers": changed_workers({}, cluster.workers),
            "reported": changed_reports(Report(), cluster.report),
            "charged_to": _charged_to(cluster, limits),
            "demand": pack_demand(demand),
            "meter": text(pack(cluster.meter)) if cluster.meter.since else None,
            "account": self._accounts.packed(cluster),
            "limits": packed_limits(limits),
            "queue": None if queue is None else {**to_builtins(queue), "status": text(pack(_waiting(cluster)))},
            "alias": cluster.spec.alias,
            "adopt": adopt,
            "stopping": cluster.stopping,
            "request_id": request_id,
            "request_seconds": REQUEST_SECONDS,
        }
        keys = {"request": self._connection.keys.request(cluster.owner, request_id)}
        return await self._connection.run_on(_create, cluster.id, cluster.owner, ask, keys=keys, events=events)

    async def _save_change(
        self,
        seen: Cluster,
        changed: Cluster,
        *,
        demand: Demand,
        limits: Mapping[str, Limits],
        resized: bool,
        growth: Growth | None,
        event: Event | None,
    ) -> Answer:
        ask = {
            "seen": str(seen.revision),
            "spec": text(pack(changed.spec)) if changed.spec != seen.spec else None,
            "targets": text(pack(changed.targets)),
            "stop": changed.spec.stop,
            "charged_to": _charged_to(seen, limits),
            "demand": pack_demand(demand),
            "resized": resized,
            "growth": to_builtins(growth),
            "account": self._accounts.packed(changed),
            "limits": packed_limits(limits),
            "route": None if changed.access == seen.access else _packed_route(changed, changed.report),
        }
        events = () if event is None else (event,)
        return await self._connection.run_on(_change, seen.id, seen.owner, ask, events=events)

    async def _save_report(self, seen: Cluster, report: Report, events: Sequence[Event]) -> Answer:
        ask = {
            "order": pack_order(report),
            "seen": str(seen.revision),
            "report": text(pack_report(report)),
            "workers": changed_reports(seen.report, report),
            "route": _packed_route(seen, report),
            "kind": ChangeKind.REPORT if shown(report) == shown(seen.report) else ChangeKind.RECORD,
        }
        return await self._connection.run_on(_save_report, seen.id, seen.owner, ask, events=events)


def _waiting(cluster: Cluster) -> Status:
    return replace(cluster.status, phase=Phase.QUEUED)


def _charged_to(cluster: Cluster, limits: Mapping[str, Limits]) -> list[str]:
    """Whom a cluster is charged to: whoever has limits, bound or not, but itself."""
    subjects = {user_name(cluster.owner): None, DEPLOYMENT: None, **dict.fromkeys(limits)}
    subjects.pop(cluster_name(cluster.id), None)
    return list(subjects)


def _changed(seen: Cluster, change: Callable[[Cluster], Cluster], etag: str) -> Cluster | None:
    """The changed record; None if there is no difference."""
    if etag and etag != str(seen.generation):
        raise StaleEtag(f"{cluster_name(seen.id)} has changed since it was read; read it again, then write")
    changed = change(seen)
    if changed.spec == seen.spec and changed.targets == seen.targets:
        return None
    if seen.stopping:
        raise _ended(seen.id)
    return changed


def _packed_route(cluster: Cluster, report: Report) -> Raw | str:
    """The route of a cluster with a report; "" while its scheduler has no address."""
    if not report.scheduler_address:
        return ""
    route = Route(
        cluster=cluster.id,
        access=cluster.access,
        scheduler_address=_bare(report.scheduler_address),
        dashboard_address=_bare(report.dashboard_address),
    )
    return text(pack_same(route))


def _bare(address: str) -> str:
    """``ip:port`` of an address such as ``tls://ip:port``."""
    return address.rpartition("://")[2].rstrip("/")


def _ended(cluster: ClusterId) -> ClusterEnded:
    return ClusterEnded(f"{cluster_name(cluster)} is stopping or has ended; create a new one")
