"""Limits as a policy sets them: who sees which, and what counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Replica, Site

from headrace.errors import PermissionDenied, QuotaExceeded
from headrace.v1 import cluster_pb2
from headrace.v1 import limits_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN

POLICY = """
scheduler: {cores: 1, memory_bytes: 1 GiB}
profiles:
  default: {limits: {clusters: 9}}
  licensed: {counts: {licenses: 2}, limits: {gpus: 3}}
  secret: {limits: {workers: 1}, groups: [staff]}
limits:
  deployment: {cores: 100}
  groups: {lab: {memory_bytes: 100 GiB}, staff: {workers: 7}}
  user: {workers: 50, resources: {fpga: 4, licenses: 3}}
  users: {ann: {clusters: 2}}
  on_create: queue
  on_scale: reject
"""


@pytest.fixture
async def limited(site: Site, directory: Path) -> Replica:
    """A controller with a limit of every subject."""
    file = directory / "policy.yaml"
    file.write_text(POLICY)
    return await site.replica(policy_file=file)


def workers(size: int) -> list[cluster_pb2.WorkerGroup]:
    return [cluster_pb2.WorkerGroup(name="default", size=size)]


def shown(answer: pb.GetLimitsResponse) -> dict[tuple[str, str], tuple[float, float]]:
    return {(limit.subject, limit.resource): (limit.limit, limit.used) for limit in answer.limits}


async def test_each_limit_that_binds_is_shown_with_what_is_used(limited: Replica) -> None:
    ann, bob = await limited.user("ann", groups=["lab"]), await limited.user("bob", groups=["lab"])
    await ann.create({"worker_cores": 0.5, "worker_memory": 2**30}, profile="default", worker_groups=workers(3))
    await bob.create(profile="default")
    await ann.create(profile="default")
    await ann.create(profile="default")  # waits: ann may have two
    answer = await ann.ask_limits(pb.GetLimitsRequest())
    assert shown(answer) == {
        ("clusters/-", "workers"): (1000, 0),
        ("clusters/-", "memory_bytes"): (2**50, 0),
        ("users/ann", "clusters"): (2, 2),
        ("users/ann", "workers"): (50, 3),
        ("users/ann", "fpga"): (4, 0),
        ("users/ann", "licenses"): (3, 0),
        ("groups/lab", "memory_bytes"): (100 * 2**30, 6 * 2**30),
        ("profiles/default", "clusters"): (9, 3),
        ("profiles/licensed", "gpus"): (3, 0),
        ("deployment", "cores"): (100, 4.5),
    }
    assert (answer.queued, answer.queue_length) == (1, 1)
    assert (answer.limits[0].subject, answer.limits[-1].subject) == ("clusters/-", "deployment")


async def test_admins_see_those_of_others(limited: Replica) -> None:
    ann, bob = await limited.user("ann", groups=["lab"]), await limited.user("bob")
    root = await limited.user("root", ADMIN, groups=["staff"])
    await ann.create(profile="default")
    seen = await root.ask_limits(pb.GetLimitsRequest(user="users/ann"))
    assert seen == await ann.ask_limits(pb.GetLimitsRequest())
    assert ("groups/lab", "memory_bytes") in shown(seen)
    assert ("profiles/secret", "workers") not in shown(seen)
    assert ("profiles/secret", "workers") in shown(await root.ask_limits(pb.GetLimitsRequest()))
    await fails(PermissionDenied, bob.ask_limits(pb.GetLimitsRequest(user="users/ann")))
    assert await wrong_fields(root.ask_limits(pb.GetLimitsRequest(user="groups/lab"))) == {"user"}


@pytest.mark.parametrize(
    ("resource", "profile", "options", "fits", "used"),
    [
        ("fpga", "default", {"worker_resources": {"fpga": 1.5}}, 2, 3.0),
        ("licenses", "licensed", {"worker_resources": {"licenses": 0.001}}, 1, 2.0),  # the profile's word counts
    ],
)
async def test_a_named_resource_of_workers_is_counted_and_refused(
    limited: Replica, resource: str, profile: str, options: dict[str, object], fits: int, used: float
) -> None:
    bob = await limited.user("bob")
    made = await bob.create(options, profile=profile, worker_groups=workers(fits))
    _, counted = shown(await bob.ask_limits(pb.GetLimitsRequest()))["users/bob", resource]
    assert counted == used
    error = await fails(QuotaExceeded, bob.scale(made.name, fits + 1))
    assert (error.details["subject"], error.details["what"]) == ("users/bob", resource)
    waits = await bob.create(options, profile=profile, worker_groups=workers(1))
    assert waits.status.phase == cluster_pb2.PHASE_QUEUED
    await bob.scale(made.name, 0)
    await bob.until(waits.name, "RUNNING", running=1)
