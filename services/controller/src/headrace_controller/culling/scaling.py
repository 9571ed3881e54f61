"""Scales clusters to zero when culling decides so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from headrace.errors import ClusterEnded
from headrace.v1.enums import EventType
from headrace_controller.admission import Admission
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import AdaptRange, Cluster, Event, Group, Severity
from headrace_controller.plan.findings import has_workers
from headrace_controller.store import Store


class ScalingToZero:
    """Writes what a user would: each group at size 0, adaptive ones with a minimum of 0."""

    def __init__(
        self, store: Store, mirror: ClusterMirror, admission: Admission, *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._admission = admission
        self._clock = clock

    async def apply(self, cluster: Cluster, why: str) -> None:
        """Scale a cluster to zero, unless a user has changed or stopped it since."""
        message = f"The cluster was scaled to zero workers because {why}. Its scheduler stays; scale it to continue."
        with suppress(ClusterEnded):
            changed = await self._store.records.change(
                cluster,
                lambda record: at_zero(record) if record.spec == cluster.spec else record,
                demand=self._admission.demand,
                limits=self._admission.limits(cluster),
                event=Event(type=EventType.CULLED, message=message, severity=Severity.WARNING, time=self._clock()),
            )
            self._mirror.apply(changed)


def at_zero(cluster: Cluster) -> Cluster:
    """Return the cluster without workers."""
    if not has_workers(cluster):
        return cluster
    groups = tuple(map(_at_zero, cluster.spec.groups))
    targets = {group.name: 0 for group in groups if group.adapt}
    return replace(cluster, spec=replace(cluster.spec, groups=groups), targets=targets)


def _at_zero(group: Group) -> Group:
    adapt = None if group.adapt is None else AdaptRange(minimum=0, maximum=group.adapt.maximum)
    return replace(group, size=0, adapt=adapt)
