"""A platform that is away: no time-out of a start counts that time, it is bounded, and users hear of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import CREATED_AT, NOW, new_cluster, process, running_cluster, running_worker, worker
from tests.controller.plan.deciding import decide, messages, states

from headrace.v1.enums import ConditionType, EventType, ExitCause, WaitReason
from headrace_controller.backends.contact import Contact
from headrace_controller.backends.process import SCHEDULER, ProcessState
from headrace_controller.model import Cluster, EndReason, Group, Phase, Report, Status, WorkerId, WorkerState
from headrace_controller.plan import Decision, FetchLogTail, Policy, RouteState, StartError, StopAll

POLICY = Policy(start_timeout=60, pending_timeout=600, worker_start_timeout=60, worker_failure_limit=2)
STARTING = replace(new_cluster("c1"), status=Status(scheduler_created=CREATED_AT, observed_generation=1))
AWAY = WaitReason.PLATFORM_AWAY
SILENT = "the API server does not answer"


def plan(cluster: Cluster, *processes: Any, now: float, **seen: Any) -> Decision:
    return decide(cluster, *processes, now=now, policy=POLICY, **{"route": RouteState(), **seen})


def after(decision: Decision, before: Cluster) -> Cluster:
    return replace(before, status=decision.status, workers=decision.workers)


def error(wait: WaitReason | None = None, cause: ExitCause | None = None, since: float = CREATED_AT) -> StartError:
    return StartError("it failed", CREATED_AT + 1e6, cause, wait=wait, since=since)


@pytest.mark.parametrize(
    ("failure", "ends"),
    [
        (error(cause=ExitCause.REFUSED), CREATED_AT + 1),
        (error(cause=ExitCause.START_FAILED), CREATED_AT + 1),
        (error(), CREATED_AT + 60),
        (error(since=CREATED_AT + 40), CREATED_AT + 100),  # before, it failed otherwise
        (error(since=CREATED_AT + 590), CREATED_AT + 600),
        (error(AWAY), CREATED_AT + 600),
        (error(AWAY, since=CREATED_AT + 500), CREATED_AT + 600),
        (error(WaitReason.UNSCHEDULABLE), CREATED_AT + 600),
        (error(WaitReason("NEW_REASON")), CREATED_AT + 600),
    ],
)
def test_how_long_a_launch_that_fails_is_tried(failure: StartError, ends: float) -> None:
    seen: dict[str, Any] = {"processes": {}, "start_errors": {None: failure}, "log_tail": {SCHEDULER: ""}}
    if failure.cause is None:
        before = plan(STARTING, now=ends - 1, **seen)
        assert (before.status.phase, before.requeue_at) == (Phase.STARTING, ends)
        assert before.status.message.startswith("The scheduler cannot be started: it failed. It is tried again until ")
    end = plan(STARTING, now=ends, **seen)
    assert end.status.phase is Phase.FAILED
    assert "The scheduler cannot be started: it failed." in end.status.message
    assert "tried again" not in end.status.message


def test_an_unknown_failure_right_after_an_absence_is_tried_as_long_as_any() -> None:
    back = Contact(CREATED_AT + 300)
    seen: dict[str, Any] = {"processes": {}, "start_errors": {None: error()}, "contact": back}
    assert plan(STARTING, now=CREATED_AT + 301, **seen).requeue_at == CREATED_AT + 360


def test_a_scheduler_that_could_not_report_to_a_platform_that_is_away_is_waited_for_and_told() -> None:
    silent = Contact(CREATED_AT + 10, SILENT)
    decision = plan(STARTING, process(runs_since=CREATED_AT + 5), now=CREATED_AT + 599, contact=silent)
    assert (decision.status.phase, decision.requeue_at) == (Phase.STARTING, CREATED_AT + 600)
    assert decision.status.message == (
        "The scheduler's process runs. Waiting for it to report. Nothing is heard of it since 00:15 UTC: the API "
        "server does not answer. It is waited for until 00:25 UTC."
    )
    sentence = "The scheduler waits for its platform to answer: the API server does not answer."
    assert messages(decision, EventType.WAITING) == [sentence]
    assert decision.events[0].wait is AWAY

    late = plan(STARTING, process(), now=CREATED_AT + 600, contact=silent, log_tail={SCHEDULER: ""})
    assert late.actions == (StopAll(),)
    assert late.status.reason is EndReason.START_TIMEOUT
    assert late.status.message.startswith("The cluster was not usable within 10 min. ")


def test_when_it_answers_again_a_scheduler_has_all_its_time() -> None:
    runs, back = process(runs_since=CREATED_AT + 5), Contact(CREATED_AT + 200)
    told = plan(STARTING, runs, now=CREATED_AT + 100, contact=Contact(CREATED_AT + 10, SILENT))
    decision = plan(after(told, STARTING), runs, now=CREATED_AT + 201, contact=back)
    assert decision.requeue_at == CREATED_AT + 260
    assert decision.status.waits == {}
    assert decision.status.message == "The scheduler's process runs. Waiting for it to report."
    assert plan(STARTING, runs, now=CREATED_AT + 260, contact=back).actions == (FetchLogTail(SCHEDULER),)


def test_a_platform_that_comes_and_goes_does_not_put_the_timeout_off_without_end() -> None:
    runs, back = process(runs_since=CREATED_AT + 5), Contact(CREATED_AT + 660)
    assert plan(STARTING, runs, now=CREATED_AT + 665, contact=back).actions == (FetchLogTail(SCHEDULER),)


def test_a_scheduler_that_waits_for_a_node_says_as_well_that_nothing_is_heard_of_it() -> None:
    waits = process(state=ProcessState.PENDING, wait=WaitReason.UNSCHEDULABLE, message="0/3 nodes")
    decision = plan(STARTING, waits, now=CREATED_AT + 20, contact=Contact(CREATED_AT + 10, SILENT))
    assert decision.status.message.startswith("The scheduler waits for room on a node since ")
    assert "Nothing is heard of it since 00:15 UTC: the API server does not answer." in decision.status.message
    assert set(decision.status.waits[""]) == {WaitReason.UNSCHEDULABLE, AWAY}


def test_a_scheduler_that_has_reported_is_not_waited_for_longer() -> None:
    reported = replace(STARTING, report=Report(session=1, changed=CREATED_AT + 2))
    decision = plan(reported, process(), now=CREATED_AT + 20, contact=Contact(CREATED_AT + 10, SILENT))
    assert decision.requeue_at == CREATED_AT + 60


def test_workers_that_cannot_be_launched_meanwhile_wait_and_fail_nothing() -> None:
    state = running_cluster(running_worker("default-1"), worker("default-2"), groups=[Group(size=2)])
    seen: dict[str, Any] = {"start_errors": {"default": error(AWAY)}, "contact": Contact(NOW - 5, SILENT)}
    table = process(), process("default-1")
    decision = plan(state, *table, now=NOW + 1e5, **seen)
    waits = decision.workers[WorkerId("default-2")]
    assert (waits.state, waits.wait) == (WorkerState.PENDING, AWAY)
    assert waits.message == "Waiting for its platform to answer since 04:03 UTC: it failed."
    assert [c.message for c in decision.status.conditions if c.type is ConditionType.STARTABLE] == [
        "Workers cannot be started: it failed."
    ]
    assert plan(after(decision, state), *table, now=NOW + 2e5, **seen).workers is decision.workers
    launched = plan(after(decision, state), *table, process("default-2", runs_since=NOW + 1e5), now=NOW + 1e5)
    assert (launched.workers[WorkerId("default-2")].message, launched.requeue_at) == ("", NOW + 1e5 + 60)


def test_workers_that_cannot_join_meanwhile_wait_and_have_all_their_time_afterwards() -> None:
    state = running_cluster(worker("default-1"), groups=[Group(size=1)])
    table = process(), process("default-1", runs_since=NOW - 10)
    decision = plan(state, *table, now=NOW + 1000, contact=Contact(NOW, SILENT))
    assert states(decision) == {"default-1": WorkerState.PENDING}
    assert messages(decision, EventType.WAITING) == [f"Workers wait for its platform to answer: {SILENT}."]
    back = plan(after(decision, state), *table, now=NOW + 1001, contact=Contact(NOW + 1001))
    assert back.requeue_at == NOW + 1061
    assert back.workers[WorkerId("default-1")] == worker("default-1")
    late = plan(after(back, state), *table, now=NOW + 1061, contact=Contact(NOW + 1001))
    assert states(late)["default-1"] is WorkerState.FAILED


def test_workers_that_nobody_can_launch_for_an_unknown_reason_fail_with_it_after_their_time() -> None:
    state = running_cluster(worker("default-1"), groups=[Group(size=1)])
    seen: dict[str, Any] = {"start_errors": {"default": error(since=NOW)}}
    assert plan(state, process(), now=NOW + 59, **seen).requeue_at == NOW + 60
    late = plan(state, process(), now=NOW + 60, **seen)
    assert late.workers[WorkerId("default-1")].message == (
        "It did not join the scheduler within 1 min, because it cannot be started: it failed."
    )
