"""What a scheduler's agent is to do, from the record alone: always the whole of it."""

from __future__ import annotations

from collections import Counter

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_controller.model import Cluster, WorkerState

_JOINED = {WorkerState.RUNNING, WorkerState.RETIRING}


def instructions(cluster: Cluster) -> pb.SessionResponse:
    """The adaptive groups, how many workers to keep where there are too many, and whether to end."""
    if cluster.spec.stop or cluster.status.phase.ended:
        return pb.SessionResponse(stop=True)
    running = Counter(worker.group for worker in cluster.status.workers.values() if worker.state in _JOINED)
    return pb.SessionResponse(
        adaptive_groups=[
            pb.AdaptiveGroup(
                group=group.name, minimum=group.adapt.minimum, maximum=group.adapt.maximum, size=group.size
            )
            for group in cluster.spec.groups
            if group.adapt
        ],
        retire=[
            pb.RetireOrder(group=group.name, keep=group.size)
            for group in cluster.spec.groups
            if running[group.name] > group.size
        ],
    )
