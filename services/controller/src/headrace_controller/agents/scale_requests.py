"""What adaptive scaling asks for becomes a target, within the group's range and as far as limits allow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from headrace.errors import ClusterEnded, QuotaExceeded
from headrace.v1.enums import EventType
from headrace_controller.admission import Admission, largest_size
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster
from headrace_controller.store import Store

_MAX_TRIES = 4


@dataclass(frozen=True, slots=True)
class _Limited:
    """A request of which a limit allows only a part."""

    asked: int
    allowed: int
    why: str = field(compare=False)


class ScaleRequests:
    """The requests of one session. A limit that binds is recorded once, not with each repetition of a request."""

    def __init__(self, store: Store, mirror: ClusterMirror, admission: Admission, events: AgentEvents) -> None:
        self._store = store
        self._mirror = mirror
        self._admission = admission
        self._events = events
        self._limited: dict[str, _Limited] = {}

    async def apply(self, cluster: Cluster, group: str, size: int) -> None:
        """Sets the target of an adaptive group; groups that are unknown or of fixed size are ignored.

        Raises `StoreUnavailable` and `ClusterNotFound`.
        """
        found = cluster.spec.group(group)
        if found is None or found.adapt is None:
            return
        limited = await self._apply(cluster, group, found.adapt.clamp(size))
        if limited is None:
            self._limited.pop(group, None)
        elif self._limited.get(group) != limited:
            await self._record(cluster, group, limited)
            self._limited[group] = limited

    async def _apply(self, cluster: Cluster, group: str, asked: int) -> _Limited | None:
        size, why = asked, ""
        for _ in range(_MAX_TRIES):
            try:
                cluster = await self._change(cluster, group, size)
            except QuotaExceeded as error:
                why = error.message
                cluster = await self._store.reads.newest(cluster)
                size = largest_size(cluster, group, size, error, self._admission.worker(cluster, group))
            except ClusterEnded:
                return None
            else:
                break
        return _Limited(asked, _desired(cluster, group), why) if why else None

    async def _change(self, cluster: Cluster, group: str, size: int) -> Cluster:
        changed = await self._store.records.change(
            cluster,
            partial(with_target, group=group, size=size),
            demand=self._admission.demand,
            limits=self._admission.limits(cluster),
            growth=self._admission.growth,
        )
        self._mirror.apply(changed)
        return changed

    async def _record(self, cluster: Cluster, group: str, limited: _Limited) -> None:
        workers = "1 worker" if limited.asked == 1 else f"{limited.asked} workers"
        message = f"Adaptive scaling asked for {workers} in group {group!r} and got {limited.allowed}: {limited.why}"
        await self._events.add(cluster, EventType.SCALING_LIMITED, message)


def with_target(cluster: Cluster, group: str, size: int) -> Cluster:
    """Returns the cluster with another target of a group, within its range."""
    found = cluster.spec.group(group)
    if found is None or found.adapt is None:
        return cluster
    return replace(cluster, targets={**cluster.targets, group: found.adapt.clamp(size)})


def _desired(cluster: Cluster, group: str) -> int:
    found = cluster.spec.group(group)
    return cluster.desired(found) if found else 0
