"""Which limits bind a cluster, and what it asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, inf

from headrace.errors import InvalidRequest, QuotaExceeded, Violation
from headrace.resource_names import cluster_name, user_name
from headrace_controller.model import Cluster, Demand, Group, Limits
from headrace_controller.options import shapes
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Profiles, UnknownProfile
from headrace_controller.store import DEPLOYMENT

MAX_WORKERS = 100_000
"""Workers of one cluster where the settings have no limit: a typo must not request a billion."""

MAX_MEMORY_BYTES = 2**50
"""Memory of one cluster where the settings have no limit; sums of it stay exact in the store."""

_NO_MEMORY = "must be more than 0, because a limit on memory binds; "
_GIVE_MEMORY = "give a size such as '2 GiB'"
_GIVE_CORES = "ask for more worker_cores"
_OTHER_OPTIONS = "a group keeps its options: add a worker group with others, or create another cluster"


class Admission:
    """The limits of a deployment."""

    def __init__(self, policy: PolicyFile, profiles: Profiles) -> None:
        self._profiles = profiles
        self.follow(policy)

    def follow(self, policy: PolicyFile) -> None:
        """Take up the limits of a policy."""
        self._scheduler = policy.scheduler.resources()
        self._threads_per_core = policy.worker.threads_per_core
        self._settings = limits = policy.limits
        cluster = limits.cluster.limits()
        self._cluster = replace(
            cluster,
            workers=_lower(cluster.workers, MAX_WORKERS),
            memory_bytes=_lower(cluster.memory_bytes, MAX_MEMORY_BYTES),
        )
        self._user = limits.user.limits()
        self._deployment = limits.deployment.limits()

    def limits(self, cluster: Cluster) -> Mapping[str, Limits]:
        """Return the limits that bind a cluster, by subject, in the order to check them."""
        return {
            cluster_name(cluster.id): self._cluster,
            user_name(cluster.owner): self._user,
            f"profiles/{cluster.spec.profile}": self._profile(cluster.spec.profile),
            DEPLOYMENT: self._deployment,
        }

    @property
    def clips(self) -> bool:
        """Whether a request to scale beyond a limit gets what the limit allows; otherwise it is refused."""
        return self._settings.on_scale == "clip"

    def most_workers(self, cluster: Cluster, group: str) -> tuple[int, str]:
        """Return how many workers a group could have if nothing else were used, and the subject of that limit."""
        found = cluster.spec.group(group)
        worker = shapes.shape(cluster.spec, found).resources if found else shapes.NOTHING
        bounds: list[tuple[int, str]] = []
        for subject, limits in self.limits(cluster).items():
            pairs = (
                (limits.workers, 1),
                (limits.cores_milli, round(worker.cores * 1000)),
                (limits.memory_bytes, worker.memory_bytes),
                (limits.gpus, worker.gpus),
            )
            bounds += [(limit // each, subject) for limit, each in pairs if limit is not None and each]
        return min(bounds)

    def count(self, cluster: Cluster) -> Demand:
        """Return what a cluster counts as."""
        return shapes.demand(cluster, self._scheduler)

    def check(self, cluster: Cluster, before: Cluster | None = None) -> None:
        """Raise `InvalidRequest` for workers that may use more than what limits count.

        Groups that grow no more than they were to `before`, when no limit may have been set, stay as they are.
        """
        bounds = [self._settings.cluster.limits(), self._user, self._profile(cluster.spec.profile), self._deployment]
        memory = any(bound.memory_bytes is not None for bound in bounds)
        cores = any(bound.cores_milli is not None for bound in bounds)
        violations: list[Violation] = []
        for n, group in enumerate(cluster.spec.groups):
            old = before.spec.group(group.name) if before else None
            kept = old is not None and old.options == group.options
            if old is not None and kept and _largest(group) <= _largest(old):
                continue
            worker = shapes.shape(cluster.spec, group)
            field = f"spec.worker_groups[{n}].options" if group.options else "spec.options"
            if memory and not worker.resources.memory_bytes:
                violations.append(
                    Violation(f"{field}.worker_memory", _NO_MEMORY + (_OTHER_OPTIONS if kept else _GIVE_MEMORY))
                )
            maximum = max(1, ceil(worker.resources.cores)) * self._threads_per_core
            if cores and worker.threads > maximum:
                text = f"may be at most {maximum} with {worker.resources.cores:g} worker_cores, is {worker.threads}"
                more = _OTHER_OPTIONS if kept else _GIVE_CORES
                violations.append(Violation(f"{field}.worker_threads", f"{text}; {more}"))
        if violations:
            raise InvalidRequest.of(*dict.fromkeys(violations))

    def demand(self, cluster: Cluster) -> Demand:
        """Return what a cluster asks for; raise `QuotaExceeded` before the store has to count with absurd numbers."""
        demand = self.count(cluster)
        self._check(cluster, "workers", demand.workers, MAX_WORKERS, self._cluster.workers)
        self._check(cluster, "memory_bytes", demand.memory_bytes, MAX_MEMORY_BYTES, self._cluster.memory_bytes)
        return demand

    def _check(self, cluster: Cluster, what: str, asked: int, maximum: int, limit: int | None) -> None:
        if asked > maximum:
            subject = cluster_name(cluster.id)
            raise QuotaExceeded.of(subject=subject, what=what, limit=limit or 0, used=0, asked=asked)

    def _profile(self, key: str) -> Limits:
        try:
            return self._profiles.get(key).limits or Limits()
        except UnknownProfile:
            return Limits()


def _largest(group: Group) -> float:
    """How many workers a group may have as it is."""
    if group.adapt is None:
        return group.size
    return inf if group.adapt.maximum is None else group.adapt.maximum


def _lower(limit: int | None, maximum: int) -> int:
    return maximum if limit is None else min(limit, maximum)


def largest_size(cluster: Cluster, name: str, asked: int, error: QuotaExceeded) -> int:
    """Return the largest size that a limit leaves to a group, never less than it has."""
    group = cluster.spec.group(name)
    if group is None:
        return 0
    worker = shapes.shape(cluster.spec, group).resources
    each = {"workers": 1, "cores": worker.cores, "memory_bytes": worker.memory_bytes, "gpus": worker.gpus}
    spare = max(0.0, float(error.details["limit"]) - float(error.details["used"]))
    more = int(spare / (each.get(error.details["what"], 0) or 1))
    desired = cluster.desired(group)
    return max(desired, min(asked - 1, desired + more))
