"""How long a user may put culling of a cluster off. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace.errors import KeepRefused
from headrace_controller.model import Cluster
from headrace_controller.plan.sentences import duration
from headrace_controller.policy.sections import Culling


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """A request to keep a cluster for some seconds from `now`.

    It never shortens an earlier one. A lifetime of the cluster's own that would end it before is extended, if
    `extends_lifetime`: that is a right of whoever manages the cluster.
    """

    seconds: float
    now: float
    policy: Culling
    extends_lifetime: bool

    def apply(self, cluster: Cluster) -> Cluster:
        """Return the kept cluster; raise `KeepRefused` if the policy does not allow that much."""
        spec, until = cluster.spec, self.now + self.seconds
        kept_before = max(self.now, spec.keep_until or 0.0)
        self._check(cluster, kept_before)
        if until > kept_before:
            spec = replace(spec, keep_until=until, kept=spec.kept + until - kept_before)
        if self.extends_lifetime and spec.lifetime is not None:
            spec = replace(spec, lifetime=max(spec.lifetime, until - _begun(cluster)))
        return replace(cluster, spec=spec)

    def _check(self, cluster: Cluster, kept_before: float) -> None:
        policy = self.policy
        left_in_all = kept_before - self.now + policy.keep_total - cluster.spec.kept
        bounds = [
            (policy.keep, f"at most {duration(policy.keep)} at once"),
            (left_in_all, f"at most {duration(policy.keep_total)} in all"),
        ]
        if policy.lifetime is not None:
            left = _begun(cluster) + policy.lifetime - self.now
            bounds.append((left, f"a lifetime of at most {duration(policy.lifetime)}"))
        allowed, why = min(bounds)
        if self.seconds > max(0.0, allowed):
            left = duration(max(0, int(allowed)))
            raise KeepRefused(
                f"cluster {cluster.id} cannot be kept for {duration(self.seconds)}: the policy allows {why}. "
                f"Keep it for {left} at most, and save your results before it ends",
                {"seconds": str(max(0, int(allowed)))},
            )


def _begun(cluster: Cluster) -> float:
    """Time from which its lifetime counts, as far as that is known."""
    return cluster.created if cluster.begun is None else cluster.begun
