"""Values of the store besides the model's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from headrace.errors import StoreUnavailable
from headrace.resource_names import cluster_name
from headrace_chassis.routes import Route
from headrace_controller.model import Cluster, ClusterId, Event, Report, UserId

_VERSION = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)

DEPLOYMENT = "deployment"
"""Subject of the limits on everybody together. Others are names such as ``users/{user}`` and ``clusters/{cluster}``."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of holding a shard's lease; the store refuses a number that is not the lease's."""

    shard: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRules:
    """How a new cluster waits if a limit refuses it.

    Attributes
    ----------
    weight
        Turns of its owner for each turn of others.
    each
        Number of clusters of its owner that may wait.
    timeout
        Seconds after which it gives up. None means never.
    """

    weight: float
    each: int
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupGrowth:
    """A worker group that asks for more workers than it has. `each` is what a worker counts as."""

    name: str
    had: int
    wanted: int
    each: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How the workers wait that limits refuse to a living cluster.

    Attributes
    ----------
    weight
        Turns of its owner for each turn of others.
    begun
        Time at which the cluster was admitted.
    groups
        Those that grow, in the order in which they get room.
    """

    weight: float
    begun: float
    groups: Sequence[GroupGrowth]


class FencedOff(Exception):
    """The writer no longer holds the lease. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class StoredCluster:
    """A record as it was read. `place` is its first revision, by which lists are sorted."""

    cluster: Cluster
    place: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that this release cannot read, and why. `owner` is "" if not even that can be read."""

    owner: UserId
    error: str


class RecordUnreadable(StoreUnavailable):
    """A record cannot be read or shown; it is set aside, and all others are served. Another replica may be newer."""

    @classmethod
    def of(cls, cluster: ClusterId) -> Self:
        """Makes the error of a cluster."""
        return cls(
            f"this replica cannot read the record of {cluster_name(cluster)}: a newer release wrote it, or it is "
            "damaged. What runs is left alone. Repeat the call in a moment; if it fails again, stop the cluster, which "
            "is still possible, or ask your administrator, who finds the cause in the controller's log"
        )


class ChangeKind(StrEnum):
    """What has changed."""

    RECORD = "record"  # a record; also a new one
    REPORT = "report"  # an agent's report, in nothing that people see
    EVENT = "event"
    REMOVED = "removed"
    ACKNOWLEDGED = "acknowledged"  # no cluster: a reader of routes and what it has in use
    QUEUE = "queue"  # no cluster: clusters in the queue may get room
    LIMITS = "limits"  # no cluster: exceptions of limits
    REDIAL = "redial"  # no cluster: a proxy is about to close the connections of clients


Topic = tuple[Literal["cluster", "owner"], str]
"""A cluster, or all clusters of an owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What a reader's data plane has in use: everything up to `version` ("" at first) but the clusters it rejected."""

    version: str
    rejected: frozenset[ClusterId] = frozenset()

    def covers(self, cluster: ClusterId, route_version: str) -> bool:
        """Whether the reader serves this version of a cluster's route, or a later one."""
        return bool(route_version) and reaches(self.version, route_version) and cluster not in self.rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry of the change stream.

    Attributes
    ----------
    id
        Resume token of what follows it.
    revision
        Revision that wrote the record; 0 where no record was written.
    event
        The event, of kind EVENT.
    reader, in_use
        The reader of routes and what it has in use, of kind ACKNOWLEDGED.
    """

    id: str
    kind: ChangeKind
    cluster: ClusterId
    owner: UserId
    revision: int = 0
    event: Event | None = None
    reader: str = ""
    in_use: Acknowledgement | None = None

    @property
    def topics(self) -> tuple[Topic, Topic]:
        """What followers of some changes only go by."""
        return ("cluster", self.cluster), ("owner", self.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLogEntry:
    """An entry of the route log. `id` is the version of the routes; `route` is None if it was removed."""

    id: str
    cluster: ClusterId
    route: Route | None


def is_version(text: str) -> bool:
    """Whether a text has the form of a version (or resume token)."""
    return _VERSION.fullmatch(text) is not None


def reaches(version: str, wanted: str) -> bool:
    """Whether a version (or resume token) is `wanted` or later. "" is before all."""
    return version_key(version) >= version_key(wanted)


def version_key(version: str) -> tuple[int, int]:
    """Numbers by which versions are sorted."""
    milliseconds, _, number = version.partition("-")
    return int(milliseconds or -1), int(number or 0)


def shown(report: Report) -> tuple[object, ...]:
    """What people see of a report; the rest they see once it has changed the status."""
    return report.dashboard_address, report.versions
