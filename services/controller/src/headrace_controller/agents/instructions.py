"""What a scheduler's agent has to do, from the record alone. Always complete, so that a lost message does no harm."""

from __future__ import annotations

from itertools import islice

from headrace.access import ADMINS, OPERATORS
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.resource_names import user_name
from headrace.v1.enums import Right
from headrace_chassis.identity.certificate_names import name_in_certificate
from headrace_controller.model import Cluster, Group, WorkerId
from headrace_controller.plan.counts import count_workers

_MOST_ENDED = 10_000  # in one message, of which agents accept 4 MiB


def instructions(cluster: Cluster, *, removes_ended: bool = False, redial: bool = False) -> pb.SessionResponse:
    """The adaptive groups, the groups with too many running workers, who may connect, and whether to end or redial.

    And the workers whose processes have ended, for an agent that `removes_ended`.
    """
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
        guests=_guests(cluster),
        ended=_ended(cluster) if removes_ended else (),
    )


def same_instructions(one: Cluster, other: Cluster) -> bool:
    """Whether two records certainly have the same instructions, decided without counting workers."""
    return (
        one.spec is other.spec
        and one.targets is other.targets
        and one.workers is other.workers
        and one.stopping == other.stopping
        and (one.report.joined is other.report.joined or _joined_although_ended(one) == _joined_although_ended(other))
    )


def _ended(cluster: Cluster) -> list[pb.EndedWorker]:
    ended = islice(_joined_although_ended(cluster).items(), _MOST_ENDED)
    return [pb.EndedWorker(process=worker, address=address) for worker, address in ended]


def _joined_although_ended(cluster: Cluster) -> dict[WorkerId, str]:
    """Addresses of workers that the scheduler still has although the backend says that their processes have ended.

    Only loss makes one: a worker that is stopped on purpose has left its scheduler before its process ends.
    """
    joined = cluster.report.joined
    return {
        worker.id: joined[worker.id]
        for worker in cluster.workers.values()
        if worker.exit is not None and worker.id in joined
    }


def _guests(cluster: Cluster) -> pb.Guests:
    """Everybody through whom clients may connect or dashboards are open; the agent knows what time it is."""
    guests = [pb.Guest(member=name_in_certificate(member)) for member in (user_name(cluster.owner), ADMINS, OPERATORS)]
    for share in cluster.spec.shares:
        if Right.CLUSTER_CONNECT in share.rights:
            guest = pb.Guest(member=name_in_certificate(share.member))
            if share.expires is not None:
                guest.expire_time.FromMilliseconds(int(share.expires * 1000))
            guests.append(guest)
    return pb.Guests(guests=guests)


def _adaptive(cluster: Cluster, group: Group) -> pb.AdaptiveGroup:
    assert group.adapt is not None
    adapt = group.adapt
    return pb.AdaptiveGroup(
        group=group.name, minimum=adapt.minimum, maximum=adapt.maximum, desired=cluster.desired(group)
    )
