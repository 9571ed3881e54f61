"""How the model's values are kept in Redis. What is kept of single workers: `pieces.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec import Raw, msgpack

from headrace_chassis.routes import Route
from headrace_controller.meter import Meter
from headrace_controller.model import Cluster, ClusterId, Demand, Event, Queued, Report, Spec, Status, UserId
from headrace_controller.store.values import Acknowledgement, Change, ChangeKind, RouteLogEntry

CLUSTER_FIELDS = (
    "owner",
    "groups",
    "created",
    "generation",
    "revision",
    "place",
    "spec",
    "targets",
    "status",
    "report",
    "route_version",
    "meter",
    "queued",
)
"""Fields of a record that make a cluster, without its workers."""

# Sums of what is promised must stay whole numbers in Lua's doubles.
_MAXIMUM = 2**53 - 1
_LATEST = 253_402_300_800  # seconds; a time of the API ends there
_MAX_STR32 = b"\xdb"

_KINDS: dict[str, ChangeKind] = {kind.value: kind for kind in ChangeKind}

_queued = msgpack.Decoder(Queued)
_spec = msgpack.Decoder(Spec)
_status = msgpack.Decoder(Status)
_report = msgpack.Decoder(Report)
_event = msgpack.Decoder(Event)
_route = msgpack.Decoder(Route)
_acknowledgement = msgpack.Decoder(Acknowledgement)
_groups = msgpack.Decoder(tuple[str, ...])
_targets = msgpack.Decoder(dict[str, int])
_meter = msgpack.Decoder(Meter)

pack = msgpack.Encoder().encode
pack_same = msgpack.Encoder(order="deterministic").encode  # equal values give equal bytes
unpack_route = _route.decode
unpack_acknowledgement = _acknowledgement.decode


def text(content: bytes) -> Raw:
    """Bytes as msgpack's text, the only kind of bytes that Lua's reader knows."""
    return Raw(_MAX_STR32 + len(content).to_bytes(4, "big") + content)


def pack_report(report: Report) -> bytes:
    """Packs a report without its facts about single workers."""
    return pack(replace(report, joined={}, retired=frozenset(), departures={}, route_version=""))


def pack_order(report: Report) -> str:
    """Session and sequence as text that compares as they do."""
    return f"{report.session:020d}:{report.sequence:020d}"


def pack_demand(demand: Demand) -> dict[str, int]:
    """The amounts by resource."""
    return {resource: min(amount, _MAXIMUM) for resource, amount in demand.items() if amount}


def unpack_demand(amounts: Mapping[bytes, bytes]) -> Demand:
    """Reads what a subject has been promised."""
    return Demand({resource.decode(): int(amount) for resource, amount in amounts.items()})


def unpack_queued(queued: bytes | None) -> Queued | None:
    """Reads a wait in the queue."""
    return _queued.decode(queued) if queued else None


def unpack_head(cluster: ClusterId, values: Sequence[bytes]) -> tuple[Cluster, int]:
    """Reads a record without its workers from its `CLUSTER_FIELDS`; returns it with its place."""
    owner, groups, created, generation, revision, place, spec, targets, status, report, route_version, meter, queued = (
        values
    )
    head = Cluster(
        id=cluster,
        owner=UserId(owner.decode()),
        created=float(created),
        groups=_groups.decode(groups),
        generation=int(generation),
        revision=int(revision),
        spec=_spec.decode(spec),
        targets=_targets.decode(targets),
        status=_status.decode(status),
        report=replace(_report.decode(report), route_version=route_version.decode()),
        meter=unpack_meter(meter),
        queued=unpack_queued(queued),
    )
    return head, int(place)


def unpack_meter(meter: bytes | None) -> Meter:
    """Reads what a cluster has used; nothing for a record of an earlier release."""
    return _meter.decode(meter) if meter else Meter()


def unpack_event(event: bytes, event_id: bytes) -> Event:
    """Reads an event; its id is its place in the stream."""
    read = _event.decode(event)
    if not 0 <= read.time < _LATEST:
        raise ValueError(f"the time of an event is {read.time}")
    return replace(read, id=event_id.decode())


def unpack_change(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Change | None:
    """Reads an entry of the change stream; None for a kind that a newer release writes."""
    if (kind := _KINDS.get(fields[b"kind"].decode())) is None:
        return None
    event, in_use = fields.get(b"event"), fields.get(b"in_use")
    return Change(
        id=entry_id.decode(),
        kind=kind,
        cluster=ClusterId(fields[b"cluster"].decode()),
        owner=UserId(fields[b"owner"].decode()),
        revision=int(fields[b"revision"]),
        event=None if event is None else unpack_event(event, fields[b"event_id"]),
        reader=fields.get(b"reader", b"").decode(),
        in_use=None if in_use is None else _acknowledgement.decode(in_use),
    )


def unpack_route_log_entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> RouteLogEntry | None:
    """Reads an entry of the route log; None for a kind that a newer release writes."""
    if (route := fields.get(b"route")) is None:
        return None
    return RouteLogEntry(
        id=entry_id.decode(),
        cluster=ClusterId(fields[b"cluster"].decode()),
        route=_route.decode(route) if route else None,
    )
