"""How admins set limits for a while, over replicas and restarts, and what they may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from tests.conftest import Eventually
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Replica, Site
from tests.controller.user import User

from headrace.errors import InvalidRequest, QuotaExceeded
from headrace.v1 import cluster_pb2
from headrace.v1 import limits_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN, USER

POLICY = """
scheduler: {cores: 0, memory_bytes: 0}
limits:
  deployment: {workers: 6}
  user: {clusters: 9, workers: 2, resources: {fpga: 4}}
  on_scale: reject
"""
DAY = 86_400


@pytest.fixture
def file(directory: Path) -> Path:
    made = directory / "policy.yaml"
    made.write_text(POLICY)
    return made


@pytest.fixture
async def limited(site: Site, file: Path, directory: Path) -> Replica:
    return await site.replica(policy_file=file, audit={"file": str(directory / "audit.jsonl")})


async def admin(replica: Replica) -> User:
    return await replica.user("root", ADMIN, USER)


async def give(root: User, subject: str, seconds: float | None = None, reason: str = "", **limits: str) -> Any:
    request = pb.SetLimitExceptionsRequest(subject=subject, limits=limits, reason=reason)
    if seconds is not None:
        request.duration.CopyFrom(Duration(seconds=round(seconds)))
    return await root.ask_limits(request, "SetLimitExceptions")


async def take(root: User, subject: str, *resources: str) -> list[str]:
    request = pb.RemoveLimitExceptionsRequest(subject=subject, resources=resources)
    answer = await root.ask_limits(request, "RemoveLimitExceptions")
    return [one.resource for one in answer.exceptions]


async def workers(user: User) -> pb.Limit:
    answer = await user.ask_limits(pb.GetLimitsRequest())
    return next(one for one in answer.limits if (one.subject, one.resource) == ("users/ann", "workers"))


async def create(user: User, size: int) -> cluster_pb2.Cluster:
    return await user.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=size)])


async def test_all_replicas_follow_until_it_is_taken_back(
    site: Site, limited: Replica, file: Path, eventually: Eventually
) -> None:
    root, ann = await admin(limited), await (await site.replica("b", policy_file=file)).user("ann")
    made = await create(ann, 2)
    await fails(QuotaExceeded, ann.scale(made.name, 3))
    [given] = (await give(root, "users/ann", 2 * DAY, "a deadline", workers="20")).exceptions
    assert (given.subject, given.resource, given.limit, given.set_by) == ("users/ann", "workers", 20, "users/root")
    assert given.end_time.seconds - given.set_time.seconds == 2 * DAY
    await eventually(lambda: _is(ann, 20))
    assert (await workers(ann)).exception == given
    await ann.scale(made.name, 6)
    error = await fails(QuotaExceeded, ann.scale(made.name, 7))
    assert error.details["subject"] == "deployment"

    again = await site.replica("c", policy_file=file)
    there = await again.user("ann")
    await eventually(lambda: _is(there, 20))  # once it has read the store: Envoy sends it no call before
    assert (await workers(there)).exception == given
    listed = await (await admin(again)).ask_limits(pb.ListLimitExceptionsRequest(), "ListLimitExceptions")
    assert list(listed.exceptions) == [given]
    assert await take(root, "users/ann", "workers") == ["workers"]
    await eventually(lambda: _is(ann, 2))
    assert not (await workers(ann)).HasField("exception")


async def _is(user: User, limit: float) -> bool:
    return (await workers(user)).limit == limit


async def test_values_are_written_as_in_a_policy(limited: Replica) -> None:
    root = await admin(limited)
    answer = await give(root, "groups/phys/lasers", memory_bytes="64 GiB", cores="1.5", fpga="0.5", clusters="0")
    assert {one.resource: one.limit for one in answer.exceptions} == {
        "memory_bytes": 64 * 2**30,
        "cores": 1.5,
        "fpga": 0.5,
        "clusters": 0,
    }
    assert {one.end_time.seconds - one.set_time.seconds for one in answer.exceptions} == {7 * DAY}
    ann = await limited.user("ann", groups=["phys/lasers"])
    assert (await fails(QuotaExceeded, ann.create())).details["subject"] == "groups/phys/lasers"
    assert await take(root, "groups/phys/lasers", "clusters") == ["clusters"]
    assert sorted(await take(root, "groups/phys/lasers")) == ["cores", "fpga", "memory_bytes"]
    assert await take(root, "groups/phys/lasers", "cores") == []
    await ann.create()


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        ({"limits": {}}, {"limits"}),
        ({"limits": {"corse": "3", "r/fpga": "1"}}, {"limits.corse", "limits.r/fpga"}),
        ({"limits": {"resources": "3"}}, {"limits.resources"}),
        ({"limits": {"cores": "-1", "workers": "1.5"}}, {"limits.cores", "limits.workers"}),
        ({"limits": {"cores": "nan"}}, {"limits.cores"}),
        ({"limits": {"cores": "inf"}}, {"limits.cores"}),
        ({"limits": {"fpga": "many"}}, {"limits.fpga"}),
        ({"limits": {"memory_bytes": "64 GiX"}}, {"limits.memory_bytes"}),
        ({"limits": {str(n): "1" for n in range(33)}}, {"limits"}),
        ({"subject": "deployment"}, {"subject"}),
        ({"subject": "users/-"}, {"subject"}),
        ({"subject": "users/"}, {"subject"}),
        ({"subject": "users/a/b"}, {"subject"}),
        ({"subject": "groups/a\nb"}, {"subject"}),
        ({"subject": "users/" + "a" * 257}, {"subject"}),
        ({"duration": Duration(seconds=0)}, {"duration"}),
        ({"duration": Duration(seconds=-5)}, {"duration"}),
        ({"duration": Duration(seconds=90 * DAY + 1)}, {"duration"}),
        ({"reason": "x" * 257}, {"reason"}),
        ({"reason": "a\x1b[31m"}, {"reason"}),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_set(
    limited: Replica, request_: dict[str, Any], fields: set[str]
) -> None:
    root = await admin(limited)
    values: dict[str, Any] = {"subject": "users/ann", "limits": {"workers": "3"}, **request_}
    request = pb.SetLimitExceptionsRequest(**values)
    assert await wrong_fields(root.ask_limits(request, "SetLimitExceptions")) == fields
    listed = await root.ask_limits(pb.ListLimitExceptionsRequest(), "ListLimitExceptions")
    assert not listed.exceptions


async def test_an_unknown_resource_is_answered_with_those_that_there_are(limited: Replica) -> None:
    root = await admin(limited)
    known = "clusters, workers, cores, memory_bytes, gpus, fpga"
    for call in (give(root, "users/ann", corse="3"), take(root, "users/ann", "corse")):
        error = await fails(InvalidRequest, call)
        assert known in str(error)


async def test_the_audit_log_has_the_values(limited: Replica, directory: Path, eventually: Eventually) -> None:
    root = await admin(limited)
    await give(root, "users/ann", DAY, "a deadline", workers="20", cores="3")
    await take(root, "users/ann", "workers")
    file = directory / "audit.jsonl"
    await eventually(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
    given, taken = map(json.loads, file.read_text().splitlines())
    assert {one["caller"] for one in (given, taken)} == {"users/root"}
    assert {one["owner"] for one in (given, taken)} == {"users/ann"}
    assert given["method"] == "LimitsService.SetLimitExceptions"
    assert given["detail"].startswith("users/ann until 20")
    assert "workers 2 -> workers 20" in given["detail"]
    assert "cores without a limit -> cores 3" in given["detail"]
    assert given["detail"].endswith("(a deadline)")
    assert taken["detail"] == "users/ann: workers 20 -> workers 2"
