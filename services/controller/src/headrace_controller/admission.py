"""Which limits bind a cluster, and what it asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headrace.errors import QuotaExceeded
from headrace.resource_names import cluster_name, user_name
from headrace_controller.config import AllLimits
from headrace_controller.model import Cluster, Demand, Limits
from headrace_controller.options import shapes
from headrace_controller.profiles import Profiles, UnknownProfile
from headrace_controller.store import DEPLOYMENT

MAX_WORKERS = 100_000
"""Workers of one cluster where the settings have no limit: a typo must not request a billion."""

MAX_MEMORY_BYTES = 2**50
"""Memory of one cluster where the settings have no limit; sums of it stay exact in the store."""


class Admission:
    """The limits of a deployment."""

    def __init__(self, limits: AllLimits, profiles: Profiles) -> None:
        cluster = limits.cluster.limits()
        self._cluster = replace(
            cluster,
            workers=_lower(cluster.workers, MAX_WORKERS),
            memory_bytes=_lower(cluster.memory_bytes, MAX_MEMORY_BYTES),
        )
        self._user = limits.user.limits()
        self._deployment = limits.deployment.limits()
        self._profiles = profiles

    def limits(self, cluster: Cluster) -> Mapping[str, Limits]:
        """Return the limits that bind a cluster, by subject, in the order to check them."""
        return {
            cluster_name(cluster.id): self._cluster,
            user_name(cluster.owner): self._user,
            f"profiles/{cluster.spec.profile}": self._profile(cluster.spec.profile),
            DEPLOYMENT: self._deployment,
        }

    def demand(self, cluster: Cluster) -> Demand:
        """Return what a cluster asks for; raise `QuotaExceeded` before the store has to count with absurd numbers."""
        demand = shapes.demand(cluster)
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


def _lower(limit: int | None, maximum: int) -> int:
    return maximum if limit is None else min(limit, maximum)
