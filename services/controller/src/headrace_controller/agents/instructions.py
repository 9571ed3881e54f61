"""What a scheduler's agent has to do, from the record alone. Always complete, so that a lost message does no harm."""

from __future__ import annotations

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_controller.model import Cluster, Group
from headrace_controller.plan.counts import count_workers


def instructions(cluster: Cluster, *, redial: bool = False) -> pb.SessionResponse:
    """The adaptive groups, the groups with too many running workers, and whether to end, or to ask for a redial."""
    if cluster.stopping:
        return pb.SessionResponse(stop=True)
    return pb.SessionResponse(
        adaptive_groups=[_adaptive(cluster, group) for group in cluster.spec.groups if group.adapt],
        retire=[
            pb.RetireInstruction(group=count.group, keep=count.desired)
            for count in count_workers(cluster).values()
            if count.surplus_running
        ],
        redial=redial,
    )


def same_instructions(one: Cluster, other: Cluster) -> bool:
    """Whether two records certainly have the same instructions, decided without counting workers."""
    return (
        one.spec is other.spec
        and one.targets is other.targets
        and one.workers is other.workers
        and one.stopping == other.stopping
    )


def _adaptive(cluster: Cluster, group: Group) -> pb.AdaptiveGroup:
    assert group.adapt is not None
    adapt = group.adapt
    return pb.AdaptiveGroup(
        group=group.name, minimum=adapt.minimum, maximum=adapt.maximum, desired=cluster.desired(group)
    )
