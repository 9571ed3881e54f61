"""Limits that were lowered below what is used: which clusters are above them, and which workers go first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from headrace.sizes import describe_amount, describe_quantity
from headrace_controller.admission import Admission
from headrace_controller.model import AdaptRange, Cluster, ClusterId, Demand, Group, Limits
from headrace_controller.resources import shown


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that is below what is used."""

    subject: str
    resource: str
    most: int
    used: int

    @property
    def key(self) -> str:
        """Names it, however much is used."""
        return f"{self.subject} {self.resource} {self.most}"

    def __str__(self) -> str:
        allowed = describe_quantity(*shown(self.resource, self.most))
        return f"{self.subject} may have {allowed}, and has {describe_amount(*shown(self.resource, self.used))}"


class Promised:
    """What living clusters are promised together, by the subjects of their limits."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._used: dict[str, Demand] = {}
        self._limits: dict[str, Limits] = {}
        self._clusters: dict[ClusterId, tuple[Cluster, tuple[str, ...]]] = {}

    def add(self, cluster: Cluster) -> None:
        """Count a cluster that has been admitted and has not ended."""
        demand, limits = self._admission.count(cluster), self._admission.limits(cluster)
        for subject, bounds in limits.items():
            self._limits[subject] = bounds
            self._used.setdefault(subject, Demand()).update(demand)
        self._clusters[cluster.id] = cluster, tuple(limits)

    def exceeded(self) -> dict[ClusterId, list[Exceeded]]:
        """Return the clusters that are above a limit, with these limits."""
        by_subject = {
            subject: [
                Exceeded(subject, resource, most, used[resource])
                for resource, most in self._limits[subject].items()
                if used[resource] > most
            ]
            for subject, used in self._used.items()
        }
        above = (
            (id_, [one for subject in subjects for one in by_subject[subject]])
            for id_, (_, subjects) in self._clusters.items()
        )
        return {id_: found for id_, found in above if found}

    def surplus(self, exceeded: Mapping[ClusterId, Iterable[Exceeded]]) -> dict[ClusterId, dict[str, int]]:
        """Return how many workers the clusters lose until no limit is exceeded, by group: the newest clusters first."""
        left = {(one.subject, one.resource): one.used - one.most for found in exceeded.values() for one in found}
        surplus: dict[ClusterId, dict[str, int]] = {}
        clusters = (self._clusters[id_][0] for id_ in exceeded)
        for cluster in sorted(clusters, key=lambda cluster: (cluster.created, cluster.id), reverse=True):
            for group in reversed(cluster.spec.groups):
                each = self._admission.worker(cluster, group.name)
                counts = [
                    (key, each[one.resource])
                    for one in exceeded[cluster.id]
                    if each[one.resource] and left[key := (one.subject, one.resource)] > 0
                ]
                fewer = max((ceil(left[key] / amount) for key, amount in counts), default=0)
                if fewer := min(fewer, cluster.desired(group)):
                    surplus.setdefault(cluster.id, {})[group.name] = fewer
                    for one in exceeded[cluster.id]:
                        left[one.subject, one.resource] -= fewer * each[one.resource]
        return surplus


def smaller(cluster: Cluster, surplus: Mapping[str, int]) -> Cluster:
    """Return a cluster with fewer workers in some groups, and with none that wait for room."""
    sizes = {group.name: cluster.desired(group) - surplus.get(group.name, 0) for group in cluster.spec.groups}
    groups = tuple(_resized(cluster, group, sizes[group.name]) for group in cluster.spec.groups)
    targets = {group.name: sizes[group.name] for group in groups if group.adapt}
    return replace(cluster, spec=replace(cluster.spec, groups=groups), targets=targets)


def _resized(cluster: Cluster, group: Group, size: int) -> Group:
    if size == cluster.wanted(group):
        return group
    adapt = group.adapt
    if adapt is not None:
        adapt = AdaptRange(minimum=min(adapt.minimum, size), maximum=adapt.maximum)
    return replace(group, size=size, adapt=adapt)
