"""What the store tells besides the model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from headrace_controller.model import ClusterId, Event, UserId

DEPLOYMENT = "deployment"
"""Subject of the limits on everybody together. The others are names: ``users/{user}`` and ``clusters/{cluster}``."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of holding a shard's lease; the store refuses a number that is not the lease's."""

    shard: int
    number: int


class ChangeKind(StrEnum):
    """Which part of a cluster has changed."""

    SPEC = "spec"  # also a new or adopted record
    STATUS = "status"
    REPORT = "report"
    EVENT = "event"
    REMOVED = "removed"
    ACKNOWLEDGED = "acknowledged"  # no cluster: a proxy has taken up routes


Topic = tuple[Literal["cluster", "owner"], str]
"""A cluster, or all that one owner has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry of the change stream. `id` is the resume token of what follows it."""

    id: str
    kind: ChangeKind
    cluster: ClusterId
    owner: UserId
    revision: int = 0
    event: Event | None = None

    @property
    def topics(self) -> tuple[Topic, Topic]:
        """What followers of some changes only go by."""
        return ("cluster", self.cluster), ("owner", self.owner)


@dataclass(frozen=True, slots=True)
class Page:
    """Ids of clusters, newest first; `next` is passed as `before` to go on, None: this was the last page."""

    ids: list[ClusterId]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRecord:
    """Where a cluster is reached: the addresses as its agent reported them."""

    cluster: ClusterId
    owner: UserId
    scheduler_address: str
    dashboard_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """An entry of the route log; without a route, the cluster is reached no more."""

    version: str
    cluster: ClusterId
    route: RouteRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What a reader's data plane has in use: all up to `version` ("" at first) but the clusters it refused."""

    version: str
    rejected: frozenset[ClusterId] = frozenset()

    def covers(self, cluster: ClusterId, route_version: str) -> bool:
        """Whether the reader serves this version of a cluster's route, or a later one."""
        return bool(route_version) and reaches(self.version, route_version) and cluster not in self.rejected


def reaches(version: str, wanted: str) -> bool:
    """Whether a version (or resume token) is `wanted` or later. "" is before all."""
    return _parts(version) >= _parts(wanted)


def _parts(version: str) -> tuple[int, int]:
    milliseconds, _, number = version.partition("-")
    return int(milliseconds or -1), int(number or 0)
