"""Which limits bind where the policy has none, who may see whose, and who may set them."""

from __future__ import annotations

from tests.controller.errors_of import fails, wrong_fields
from tests.controller.user import User

from headrace.errors import PermissionDenied
from headrace.v1 import cluster_pb2
from headrace.v1 import limits_service_pb2 as pb


async def test_nobody_is_without_a_bound(ann: User, bob: User) -> None:
    await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=2)])
    answer = await ann.ask_limits(pb.GetLimitsRequest())
    assert [(limit.subject, limit.resource, limit.limit, limit.used) for limit in answer.limits] == [
        ("clusters/-", "workers", 1000, 0),
        ("clusters/-", "memory_bytes", 2**50, 0),
        ("users/ann", "clusters", 100, 1),
        ("users/ann", "workers", 1000, 2),
    ]
    assert (answer.queued, answer.queue_length) == (0, 0)
    assert await ann.ask_limits(pb.GetLimitsRequest(user="users/ann")) == answer
    others = await bob.ask_limits(pb.GetLimitsRequest())
    assert {limit.used for limit in others.limits} == {0}


async def test_limits_of_others_are_not_shown(ann: User, bob: User) -> None:
    await ann.create()
    await fails(PermissionDenied, bob.ask_limits(pb.GetLimitsRequest(user="users/ann")))
    assert await wrong_fields(bob.ask_limits(pb.GetLimitsRequest(user="people/ann"))) == {"user"}


async def test_only_admins_set_limits(ann: User) -> None:
    for request, method in (
        (pb.SetLimitExceptionsRequest(subject="users/ann", limits={"workers": "2000"}), "SetLimitExceptions"),
        (pb.ListLimitExceptionsRequest(), "ListLimitExceptions"),
        (pb.RemoveLimitExceptionsRequest(subject="users/ann"), "RemoveLimitExceptions"),
    ):
        await fails(PermissionDenied, ann.ask_limits(request, method))
