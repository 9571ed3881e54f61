"""What node autoscalers read of pods: whether a pod may be ended to take its node away. Pure."""

from __future__ import annotations

from headrace_controller.backends.process import Role

CLUSTER_AUTOSCALER = "cluster-autoscaler.kubernetes.io/safe-to-evict"
KARPENTER = "karpenter.sh/do-not-disrupt"
ANNOTATIONS = (CLUSTER_AUTOSCALER, KARPENTER)

OF_STANDBY = {CLUSTER_AUTOSCALER: "true"}
"""A pod in standby keeps no node. Without this the cluster autoscaler leaves nodes with pods of no controller alone."""


def annotations_of(role: Role) -> dict[str, str]:
    """Returns what a role's pods say unless an administrator says otherwise: a scheduler's end is its cluster's."""
    return {CLUSTER_AUTOSCALER: "false", KARPENTER: "true"} if role is Role.SCHEDULER else {}
