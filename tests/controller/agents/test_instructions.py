"""What agents have to do follows from the same numbers as the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import running_cluster, running_worker, worker

from headrace.access import Share
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1.enums import ExitCause, Right
from headrace_chassis.identity.certificate_names import name_in_certificate
from headrace_controller.agents.instructions import instructions, same_instructions
from headrace_controller.model import AdaptRange, Cluster, Exit, Group, Phase, WorkerId, WorkerState


def test_instructions_are_complete() -> None:
    groups = [Group(name="default", size=1), Group(name="gpu", size=1, adapt=AdaptRange(minimum=0, maximum=4))]
    workers = running_worker("default-1"), running_worker("default-2"), running_worker("gpu-3")
    found = instructions(running_cluster(*workers, groups=groups, targets={"gpu": 2}))
    assert list(found.retire) == [pb.RetireInstruction(group="default", keep=1)]
    assert list(found.adaptive_groups) == [pb.AdaptiveGroup(group="gpu", minimum=0, maximum=4, desired=2)]
    assert not found.stop


def test_nothing_is_to_do_where_all_is_as_it_should_be() -> None:
    cluster = running_cluster(worker(), groups=[Group(size=0)])
    assert instructions(cluster) == pb.SessionResponse(guests=instructions(cluster).guests)


def test_who_may_connect_is_said_with_its_end() -> None:
    shares = (
        Share("users/bob", frozenset({Right.CLUSTER_CONNECT, Right.CLUSTER_STOP}), 1000.5),
        Share("groups/" + "x" * 100, frozenset({Right.CLUSTER_CONNECT})),
        Share("users/vera", frozenset({Right.CLUSTER_VIEW})),
    )
    cluster = running_cluster(spec={"shares": shares})
    found = {guest.member: guest.expire_time.ToMilliseconds() for guest in instructions(cluster).guests.guests}
    long_name = name_in_certificate("groups/" + "x" * 100)
    assert found == {
        f"users/{cluster.owner}": 0,
        "roles/admin": 0,
        "roles/operator": 0,
        "users/bob": 1000500,
        long_name: 0,
    }
    assert len(long_name) == 64


def test_a_range_without_a_maximum_has_none() -> None:
    [group] = instructions(running_cluster(groups=[Group(adapt=AdaptRange(minimum=1))])).adaptive_groups
    assert not group.HasField("maximum")


def test_pending_workers_end_before_running_ones_are_retired() -> None:
    workers = running_worker("default-1"), worker("default-2"), worker("default-3")
    assert not instructions(running_cluster(*workers, groups=[Group(size=1)])).retire
    [instruction] = instructions(running_cluster(*workers, groups=[Group(size=0)])).retire
    assert instruction == pb.RetireInstruction(group="default", keep=0)


def test_all_workers_of_a_removed_group_are_retired() -> None:
    workers = running_worker("default-1"), running_worker("gpu-2")
    found = instructions(running_cluster(*workers, groups=[Group(size=1)]))
    assert list(found.retire) == [pb.RetireInstruction(group="gpu", keep=0)]


@pytest.mark.parametrize(
    "parts", [{"spec": {"stop": True}}, {"status": {"phase": Phase.STOPPING}}, {"status": {"phase": Phase.FAILED}}]
)
def test_an_ending_cluster_is_told_nothing_but_to_stop(parts: dict[str, Any]) -> None:
    cluster = running_cluster(running_worker(), groups=[Group(size=0, adapt=AdaptRange(minimum=0))], **parts)
    assert instructions(cluster) == pb.SessionResponse(stop=True)


LOST = Exit(cause=ExitCause.NODE_LOST)


def _with_lost(**joined: str) -> Cluster:
    """One worker runs, one has ended, one is being ended and one never started; the scheduler has those named."""
    workers = (
        running_worker("default-1"),
        worker("default-2", WorkerState.FAILED, exit=LOST),
        worker("default-3", WorkerState.FAILED),
        worker("default-4", WorkerState.FAILED, exit=Exit(cause=ExitCause.REFUSED)),
    )
    addresses = {WorkerId(name.replace("_", "-")): address for name, address in joined.items()}
    return running_cluster(*workers, groups=[Group(size=1)], report={"joined": addresses})


def test_workers_that_have_ended_although_their_scheduler_has_them_are_named_with_the_address_it_knows() -> None:
    cluster = _with_lost(default_1="tls://127.0.0.1:2", default_2="tls://10.0.0.2:1", default_3="tls://10.0.0.3:1")
    found = instructions(cluster, removes_ended=True)
    assert list(found.ended) == [pb.EndedWorker(process="default-2", address="tls://10.0.0.2:1")]
    assert not instructions(_with_lost(default_1="tls://127.0.0.1:2"), removes_ended=True).ended


def test_an_agent_that_does_not_remove_workers_is_told_of_none() -> None:
    assert not instructions(_with_lost(default_2="tls://10.0.0.2:1")).ended


def test_so_many_ended_workers_are_named_as_a_message_may_carry() -> None:
    workers = [worker(f"default-{n}", WorkerState.FAILED, exit=LOST) for n in range(10_100)]
    joined = {record.id: "tls://" + "x" * 250 for record in workers}
    found = instructions(running_cluster(*workers, report={"joined": joined}), removes_ended=True)
    assert [one.process for one in found.ended] == [f"default-{n}" for n in range(10_000)]
    assert found.ByteSize() < 4 << 20


def test_what_the_scheduler_has_changes_the_instructions_only_if_it_has_ended() -> None:
    before = _with_lost(default_2="tls://10.0.0.2:1")
    joined = {WorkerId("default-2"): "tls://10.0.0.2:1", WorkerId("default-1"): "tls://127.0.0.1:2"}
    others = replace(before, report=replace(before.report, joined=joined))
    assert same_instructions(before, others)
    elsewhere = joined | {WorkerId("default-2"): "tls://10.0.0.2:2"}
    assert not same_instructions(others, replace(before, report=replace(before.report, joined=elsewhere)))
