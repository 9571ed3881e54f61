"""Workers are stored one by one: a change of one writes and reads one piece, however many there are.

A worker has two pieces, each with one writer: its record (by the reconciler) and what its agent reported of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, filterfalse
from operator import is_not

from msgspec import Raw, msgpack

from headrace_controller.model import Cluster, Departure, Report, WorkerId, WorkerRecord
from headrace_controller.store.codec import pack, text
from headrace_controller.worker_counts import Workers

Pieces = dict[WorkerId, Raw | bool]
"""By worker, its packed piece; False where it is removed."""


@dataclass(frozen=True, slots=True)
class _Reported:
    """What the agent reported of a worker; `address` is None unless it has joined."""

    address: str | None = None
    retired: bool = False
    departure: Departure | None = None


_NOTHING = _Reported()
_worker = msgpack.Decoder(WorkerRecord)
_reported = msgpack.Decoder(_Reported)


def changed_workers(before: Mapping[WorkerId, WorkerRecord], after: Mapping[WorkerId, WorkerRecord]) -> Pieces:
    """Returns the worker records that differ."""
    return {worker: text(pack(after[worker])) if worker in after else False for worker in _differing(before, after)}


def changed_reports(before: Report, after: Report) -> Pieces:
    """Returns the facts about single workers in which two reports differ."""
    differing = {
        *_differing(before.joined, after.joined),
        *_differing(before.departures, after.departures),
        *(before.retired ^ after.retired),
    }
    reported = {worker: _reported_of(after, worker) for worker in differing}
    return {worker: False if what == _NOTHING else text(pack(what)) for worker, what in reported.items()}


def with_pieces(head: Cluster, base: Cluster | None, fields: Sequence[bytes | None]) -> Cluster:
    """Adds the workers to a record: those of `base` (None means no workers), changed by pairs of field and piece."""
    base = base or head
    if not fields:
        return replace(head, workers=base.workers, report=_with_reported(head.report, base.report))
    workers: dict[WorkerId, WorkerRecord | None] = {}
    reported: dict[WorkerId, _Reported] = {}
    for field, piece in zip(fields[::2], fields[1::2], strict=True):
        part, _, name = (field or b"").decode().partition("/")
        if part == "worker":
            workers[WorkerId(name)] = None if piece is None else _worker.decode(piece)
        elif part == "report":
            reported[WorkerId(name)] = _NOTHING if piece is None else _reported.decode(piece)
    return replace(
        head,
        workers=_with_workers(base.workers, workers),
        report=_with_reported(head.report, base.report, reported),
    )


def _with_workers(
    base: Mapping[WorkerId, WorkerRecord], changed: Mapping[WorkerId, WorkerRecord | None]
) -> Mapping[WorkerId, WorkerRecord]:
    """Returns the workers, oldest first."""
    result, new = Workers(base), list[WorkerRecord]()
    for worker, record in changed.items():
        if worker not in base:
            new += [record] if record is not None else []
        elif record is None:
            del result[worker]
        else:
            result[worker] = record
    # The number in the id orders those that were created at the same moment.
    for record in sorted(new, key=lambda record: (record.created, len(record.id), record.id)):
        result[record.id] = record
    return result


def _with_reported(head: Report, base: Report, changed: Mapping[WorkerId, _Reported] | None = None) -> Report:
    if not changed:
        return replace(head, joined=base.joined, retired=base.retired, departures=base.departures)
    addresses = {worker: what.address for worker, what in changed.items() if what.address is not None}
    departures = {worker: what.departure for worker, what in changed.items() if what.departure is not None}
    return replace(
        head,
        joined={worker: address for worker, address in base.joined.items() if worker not in changed} | addresses,
        retired=(base.retired - changed.keys()) | {worker for worker, what in changed.items() if what.retired},
        departures={worker: what for worker, what in base.departures.items() if worker not in changed} | departures,
    )


def _reported_of(report: Report, worker: WorkerId) -> _Reported:
    return _Reported(
        address=report.joined.get(worker),
        retired=worker in report.retired,
        departure=report.departures.get(worker),
    )


def _differing(before: Mapping[WorkerId, object], after: Mapping[WorkerId, object]) -> Iterator[WorkerId]:
    if before is after:
        return
    # Nearly all values are the same object. No line of Python runs for these.
    other = compress(after, map(is_not, map(before.get, after), after.values()))
    yield from (worker for worker in other if before.get(worker) != after[worker])
    yield from filterfalse(after.__contains__, before)
