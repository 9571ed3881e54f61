"""What the tables of `headrace top` show, computed from the clusters. Each cell has a text and what it is sorted by.

The first columns are those that matter most: a terminal of 80 letters shows no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from headrace._wire import costs
from headrace._wire.calls import cluster_id
from headrace.cli.cluster_view import phase, workers
from headrace.cli.output import age, printable
from headrace.sizes import describe_bytes
from headrace.v1 import cluster_pb2


class Cell(NamedTuple):
    """A text, and a number or the whole text that it is sorted by."""

    text: str
    order: float | str


class Row(NamedTuple):
    """A row; `key` stays the same while the row changes."""

    key: str
    cells: tuple[Cell, ...]

    def contains(self, text: str) -> bool:
        """Whether a cell has this text, in whatever case."""
        return any(
            text.lower() in f"{cell.order if cell.text.endswith(_CUT) else cell.text}".lower() for cell in self.cells
        )


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
    """Return one line about them all: "3 clusters, 1 of them queued: 8 workers, 16 cores, 32 GiB, 2.40 EUR an hour"."""
    total = _Sum()
    for cluster in clusters:
        total.add(cluster)
    queued = f", {total.queued} of them queued" if total.queued else ""
    costs = f", {total.money(total.per_hour).text} an hour" if total.per_hour else ""
    return (
        f"{_count(len(clusters), 'cluster')}{queued}: {_count(total.running, 'worker')}, {total.cores:g} cores, "
        f"{describe_bytes(total.memory)}{costs}"
    )


def detail(cluster: cluster_pb2.Cluster) -> str:
    """Return what a table may have had no room for: id, profile and message of a cluster."""
    facts = (cluster_id(cluster.name), cluster.spec.profile, cluster.status.message)
    return printable("  ".join(fact for fact in facts if fact))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _cluster_rows(clusters: Iterable[cluster_pb2.Cluster]) -> list[Row]:
    return [
        Row(
            cluster.name,
            (
                *_names(cluster),
                _text(phase(cluster)),
                Cell(workers(cluster), _running(cluster)),
                *_promised(cluster),
                _since(cluster.status.idle_since) if cluster.status.HasField("idle_since") else _NEVER,
                _of_one(cluster).cost_so_far,
                _number(cluster.status.clients),
                _since(cluster.create_time),
                *_rest(cluster),
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
                _name(owner.removeprefix("users/")),
                _number(total.clusters),
                _number(total.queued),
                _number(total.cores),
                total.cost_so_far,
                total.money(total.per_hour),
                _number(total.running),
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
                *_names(cluster),
                _since(cluster.create_time),
                _number(sum(group.size for group in cluster.spec.worker_groups)),
                *_promised(cluster),
                *_rest(cluster),
            ),
        )
        for cluster in clusters
        if cluster.status.phase == cluster_pb2.PHASE_QUEUED
    ]


_NEVER = Cell("-", -inf)  # beside times
_CUT = "…"
_NAME_LETTERS = 16
_NAMES = ("NAME", "OWNER")
_REST = ("PROFILE", "CLUSTER", "MESSAGE")
VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        View(
            "clusters",
            (*_NAMES, "PHASE", "WORKERS", "CORES", "MEMORY", "IDLE", "COST", "CLIENTS", "AGE", *_REST),
            _cluster_rows,
            sort="CORES",
            descending=True,
        ),
        View(
            "users",
            ("OWNER", "CLUSTERS", "QUEUED", "CORES", "COST", "PER HOUR", "WORKERS", "MEMORY", "GPUS"),
            _user_rows,
            sort="CORES",
            descending=True,
        ),
        View(
            "queue",
            (*_NAMES, "WAITS", "WORKERS", "CORES", "MEMORY", *_REST),
            _queue_rows,
            sort="WAITS",
            descending=True,
        ),
    )
}


@dataclass
class _Sum:
    """What several clusters have, and what they have cost so far."""

    clusters: int = 0
    queued: int = 0
    running: int = 0
    cores: float = 0.0
    memory: int = 0
    gpus: int = 0
    cost: float = 0.0
    per_hour: float = 0.0
    currency: str = ""

    def add(self, cluster: cluster_pb2.Cluster) -> None:
        self.clusters += 1
        if cluster.status.phase == cluster_pb2.PHASE_QUEUED:
            self.queued += 1
            return  # it has nothing yet
        promised, usage = cluster.status.promised, cluster.status.usage
        self.running += _running(cluster)
        self.cores += promised.cores
        self.memory += promised.memory_bytes
        self.gpus += promised.gpus
        self.cost += costs.so_far(usage)[0]
        self.per_hour += usage.cost_per_hour
        self.currency = usage.currency or self.currency

    @property
    def cost_so_far(self) -> Cell:
        return self.money(self.cost)

    def money(self, amount: float) -> Cell:
        """Return an amount in the deployment's currency; "-" where nothing has a price."""
        return Cell(costs.money(amount, self.currency) if amount else "-", amount)


def _of_one(cluster: cluster_pb2.Cluster) -> _Sum:
    one = _Sum()
    one.add(cluster)
    return one


def _names(cluster: cluster_pb2.Cluster) -> tuple[Cell, Cell]:
    return _name(cluster.spec.alias or cluster_id(cluster.name)), _name(cluster.owner.removeprefix("users/"))


def _rest(cluster: cluster_pb2.Cluster) -> tuple[Cell, ...]:
    return _text(cluster.spec.profile), _text(cluster_id(cluster.name)), _text(cluster.status.message)


def _promised(cluster: cluster_pb2.Cluster) -> tuple[Cell, Cell]:
    promised = cluster.status.promised
    return _number(promised.cores), _bytes(promised.memory_bytes)


def _running(cluster: cluster_pb2.Cluster) -> int:
    return sum(group.running for group in cluster.status.worker_groups)


def _text(text: str) -> Cell:
    text = printable(text)
    return Cell(text, text)


def _name(text: str) -> Cell:
    text = printable(text)
    return Cell(text if len(text) <= _NAME_LETTERS else f"{text[: _NAME_LETTERS - 1]}{_CUT}", text)


def _number(number: float) -> Cell:
    return Cell(f"{number:g}", number)


def _bytes(number: int) -> Cell:
    return Cell(describe_bytes(number) if number else "-", number)


def _since(moment: Timestamp) -> Cell:
    return Cell(age(moment), -moment.ToNanoseconds())
