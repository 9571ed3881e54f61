"""The plan itself: which rules apply to a cluster in its phase."""

from __future__ import annotations

from headrace_controller.model import Cluster
from headrace_controller.plan.decision import Decision, NewWorkerId, Policy, Seen


def plan(cluster: Cluster, seen: Seen, now: float, policy: Policy, new_id: NewWorkerId) -> Decision:
    """Decides what the status of a cluster is and what is to be done for it."""
    raise NotImplementedError
