"""How the model's values lie in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from msgspec import msgpack

from headrace_controller.model import Cluster, ClusterId, Demand, Event, Report, Spec, Status, UserId
from headrace_controller.store.values import Acknowledgement, Change, ChangeKind, RouteChange, RouteRecord

CLUSTER_FIELDS = ("owner", "created", "generation", "revision", "spec", "status", "report", "route_version")

# Sums of what is promised must stay whole numbers in Lua's doubles.
_MOST = 2**53 - 1

_encoder = msgpack.Encoder()
_spec = msgpack.Decoder(Spec)
_status = msgpack.Decoder(Status)
_report = msgpack.Decoder(Report)
_event = msgpack.Decoder(Event)
_route = msgpack.Decoder(RouteRecord)
_acknowledgement = msgpack.Decoder(Acknowledgement)

pack = _encoder.encode
unpack_status = _status.decode
unpack_route = _route.decode
unpack_acknowledgement = _acknowledgement.decode


def unpack_report(report: bytes, route_version: bytes) -> Report:
    """Reads a report; the version of its route is known to Redis only."""
    return replace(_report.decode(report), route_version=route_version.decode())


def unpack_cluster(cluster: ClusterId, fields: Sequence[bytes | None]) -> Cluster | None:
    """Reads a record from its `CLUSTER_FIELDS`; None if there is none."""
    if fields[0] is None:
        return None
    owner, created, generation, revision, spec, status, report, route_version = cast("Sequence[bytes]", fields)
    return Cluster(
        id=cluster,
        owner=UserId(owner.decode()),
        created=float(created),
        generation=int(generation),
        revision=int(revision),
        spec=_spec.decode(spec),
        status=_status.decode(status),
        report=unpack_report(report, route_version),
    )


def unpack_spec(spec: bytes) -> Spec:
    """Reads a spec."""
    return _spec.decode(spec)


def pack_demand(demand: Demand) -> list[int]:
    """The resources in the order of the scripts."""
    return [min(n, _MOST) for n in (demand.clusters, demand.workers, demand.cores_milli, demand.memory_bytes)]


def pack_order(report: Report) -> str:
    """Session and sequence as text that compares as they do."""
    return f"{report.session:020d}:{report.sequence:020d}"


def unpack_event(event: bytes, event_id: bytes) -> Event:
    """Reads an event; its id is its place in the stream."""
    return replace(_event.decode(event), id=event_id.decode())


def unpack_change(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Change:
    """Reads an entry of the change stream."""
    event = fields.get(b"event")
    return Change(
        id=entry_id.decode(),
        kind=ChangeKind(fields[b"kind"].decode()),
        cluster=ClusterId(fields[b"cluster"].decode()),
        owner=UserId(fields[b"owner"].decode()),
        revision=int(fields[b"revision"]),
        event=None if event is None else unpack_event(event, fields[b"event_id"]),
    )


def unpack_route_change(entry_id: bytes, fields: Mapping[bytes, bytes]) -> RouteChange:
    """Reads an entry of the route log."""
    route = fields[b"route"]
    return RouteChange(
        version=entry_id.decode(),
        cluster=ClusterId(fields[b"cluster"].decode()),
        route=_route.decode(route) if route else None,
    )
