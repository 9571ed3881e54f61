"""Which limits bind a cluster, and what a spec asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headrace.errors import QuotaExceeded
from headrace.resource_names import cluster_name, user_name
from headrace_controller.config import AllLimits
from headrace_controller.model import ClusterId, Demand, Limits, Spec, UserId
from headrace_controller.options import shapes
from headrace_controller.store import DEPLOYMENT

# Where an administrator sets no limit, a slip of the finger must still not ask for a billion workers.
MOST_WORKERS = 100_000


class Admission:
    """The limits of a deployment."""

    def __init__(self, limits: AllLimits) -> None:
        cluster = limits.cluster.limits()
        workers = MOST_WORKERS if cluster.workers is None else min(cluster.workers, MOST_WORKERS)
        self._cluster = replace(cluster, workers=workers)
        self._workers = workers
        self._user = limits.user.limits()
        self._deployment = limits.deployment.limits()

    def limits(self, owner: UserId, cluster: ClusterId) -> Mapping[str, Limits]:
        """Every limit that binds a cluster of this owner, the closest first."""
        return {
            cluster_name(cluster): self._cluster,
            user_name(owner): self._user,
            DEPLOYMENT: self._deployment,
        }

    def demand(self, spec: Spec) -> Demand:
        """What a spec asks for. Numbers out of all proportion are refused here, before anything counts with them."""
        asked = sum(group.wanted for group in spec.groups)
        if asked > MOST_WORKERS:
            raise QuotaExceeded.of(subject="a cluster", what="workers", limit=self._workers, used=0, asked=asked)
        return shapes.demand(spec)
