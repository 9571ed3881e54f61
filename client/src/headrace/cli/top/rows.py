"""What the tables of `headrace top` show, computed from the clusters. Each cell has a text and what it is sorted by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from headrace._wire.calls import cluster_id
from headrace.cli.cluster_view import phase, workers
from headrace.cli.output import age
from headrace.sizes import describe_bytes
from headrace.v1 import cluster_pb2


class Cell(NamedTuple):
    """A text, and a number or text that it is sorted by."""

    text: str
    order: float | str


class Row(NamedTuple):
    """A row; `key` stays the same while the row changes."""

    key: str
    cells: tuple[Cell, ...]

    def contains(self, text: str) -> bool:
        """Whether a cell has this text, in whatever case."""
        return any(text.lower() in cell.text.lower() for cell in self.cells)


Rows: TypeAlias = Callable[[Iterable[cluster_pb2.Cluster]], list[Row]]


@dataclass(frozen=True)
class View:
    """A table: its name, its columns, and how its rows come about.

    `sort` is the column that it is sorted by at first, `descending` whether the greatest stands above.
    """

    name: str
    columns: tuple[str, ...]
    rows: Rows
    sort: str
    descending: bool


def select(rows: Iterable[Row], text: str, column: int, *, descending: bool) -> list[Row]:
    """Return the rows that contain the text, sorted by a column."""
    found = [row for row in rows if row.contains(text)]
    # Rows that are equal in that column stay where they are from one second to the next.
    found.sort(key=lambda row: row.key)
    found.sort(key=lambda row: row.cells[column].order, reverse=descending)
    return found


def summary(clusters: Sequence[cluster_pb2.Cluster]) -> str:
    """Return one line about them all: "3 clusters, 1 of them queued: 8 workers, 16 cores, 32 GiB"."""
    total = _Sum()
    for cluster in clusters:
        total.add(cluster)
    queued = f", {total.queued} of them queued" if total.queued else ""
    return (
        f"{_count(len(clusters), 'cluster')}{queued}: {_count(total.running, 'worker')}, {total.cores:g} cores, "
        f"{describe_bytes(total.memory)}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _cluster_rows(clusters: Iterable[cluster_pb2.Cluster]) -> list[Row]:
    return [
        Row(
            cluster.name,
            (
                *_identity(cluster),
                _text(phase(cluster)),
                Cell(workers(cluster), _running(cluster)),
                *_promised(cluster),
                _number(cluster.status.clients),
                _since(cluster.status.idle_since) if cluster.status.HasField("idle_since") else _NEVER,
                _since(cluster.create_time),
                _text(cluster.status.message),
            ),
        )
        for cluster in clusters
    ]


def _user_rows(clusters: Iterable[cluster_pb2.Cluster]) -> list[Row]:
    by_owner = defaultdict[str, _Sum](_Sum)
    for cluster in clusters:
        by_owner[cluster.owner].add(cluster)
    return [
        Row(
            owner,
            (
                _text(owner.removeprefix("users/")),
                _number(total.clusters),
                _number(total.queued),
                _number(total.running),
                _number(total.cores),
                _bytes(total.memory),
                _number(total.gpus),
            ),
        )
        for owner, total in by_owner.items()
    ]


def _queue_rows(clusters: Iterable[cluster_pb2.Cluster]) -> list[Row]:
    return [
        Row(
            cluster.name,
            (
                *_identity(cluster),
                _number(sum(group.size for group in cluster.spec.worker_groups)),
                *_promised(cluster),
                _since(cluster.create_time),
                _text(cluster.status.message),
            ),
        )
        for cluster in clusters
        if cluster.status.phase == cluster_pb2.PHASE_QUEUED
    ]


_NEVER = Cell("-", -inf)  # beside times
_IDENTITY = ("CLUSTER", "NAME", "OWNER", "PROFILE")
VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        View(
            "clusters",
            (*_IDENTITY, "PHASE", "WORKERS", "CORES", "MEMORY", "CLIENTS", "IDLE", "AGE", "MESSAGE"),
            _cluster_rows,
            sort="CORES",
            descending=True,
        ),
        View(
            "users",
            ("OWNER", "CLUSTERS", "QUEUED", "WORKERS", "CORES", "MEMORY", "GPUS"),
            _user_rows,
            sort="CORES",
            descending=True,
        ),
        View(
            "queue",
            (*_IDENTITY, "WORKERS", "CORES", "MEMORY", "WAITS", "MESSAGE"),
            _queue_rows,
            sort="WAITS",
            descending=True,
        ),
    )
}


@dataclass
class _Sum:
    """What several clusters have."""

    clusters: int = 0
    queued: int = 0
    running: int = 0
    cores: float = 0.0
    memory: int = 0
    gpus: int = 0

    def add(self, cluster: cluster_pb2.Cluster) -> None:
        self.clusters += 1
        if cluster.status.phase == cluster_pb2.PHASE_QUEUED:
            self.queued += 1
            return  # it has nothing yet
        promised = cluster.status.promised
        self.running += _running(cluster)
        self.cores += promised.cores
        self.memory += promised.memory_bytes
        self.gpus += promised.gpus


def _identity(cluster: cluster_pb2.Cluster) -> tuple[Cell, ...]:
    owner = cluster.owner.removeprefix("users/")
    return (
        _text(cluster_id(cluster.name)),
        _text(cluster.spec.alias or "-"),
        _text(owner),
        _text(cluster.spec.profile),
    )


def _promised(cluster: cluster_pb2.Cluster) -> tuple[Cell, Cell]:
    promised = cluster.status.promised
    return _number(promised.cores), _bytes(promised.memory_bytes)


def _running(cluster: cluster_pb2.Cluster) -> int:
    return sum(group.running for group in cluster.status.worker_groups)


def _text(text: str) -> Cell:
    # Messages may quote what users' code printed: a terminal would obey control characters in it.
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return Cell(text, text)


def _number(number: float) -> Cell:
    return Cell(f"{number:g}", number)


def _bytes(number: int) -> Cell:
    return Cell(describe_bytes(number) if number else "-", number)


def _since(time: Timestamp) -> Cell:
    return Cell(age(time), -time.ToNanoseconds())
