"""What can never be started: a cluster without it ends at once, and nothing is tried again for ever."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import CREATED_AT, NOW, exited_process, new_cluster, process, running_cluster, worker
from tests.controller.builders import running_worker as running
from tests.controller.plan.deciding import conditions, decide, kinds, states

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER, ProcessState
from headrace_controller.model import Cluster, EndReason, Group, Phase, Status, WorkerId, WorkerState
from headrace_controller.plan import Decision, Policy, StartError, StartProcesses, StopAll

POLICY = Policy(worker_failure_limit=3, retry_first=0.5, retry_longest=30.0)
STARTING = replace(new_cluster("c1"), status=Status(scheduler_created=CREATED_AT))
CAUSES = [ExitCause.IMAGE_UNAVAILABLE, ExitCause.REFUSED, ExitCause.QUOTA_EXCEEDED]
QUOTA = "exceeded quota: team-a, requested: cpu=4, limited: cpu=8"


def refusal(cause: ExitCause, *processes: str) -> StartError:
    return StartError(QUOTA, NOW + 5, cause, frozenset(processes))


def after(decision: Decision, before: Cluster) -> Cluster:
    return replace(before, status=decision.status, workers=decision.workers)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_scheduler_that_is_refused_ends_its_cluster_in_one_step(cause: ExitCause) -> None:
    decision = decide(STARTING, processes={}, start_errors={None: refusal(cause, SCHEDULER)})
    assert decision.status.phase is Phase.FAILED
    assert decision.status.reason is EndReason(cause.value)
    assert decision.status.message.startswith(f"The scheduler cannot be started: {QUOTA}. ")
    assert [(e.type, e.exit_cause) for e in decision.events] == [(EventType.FAILING, cause), (EventType.FAILED, None)]
    assert decision.actions == ()


@pytest.mark.parametrize("cause", CAUSES)
def test_a_scheduler_that_turns_out_not_to_start_ends_its_cluster_in_one_step(cause: ExitCause) -> None:
    gone = exited_process(code=None, cause=cause, message="docker.io/no-such: not found")
    decision = decide(STARTING, gone)
    assert decision.status.phase is Phase.FAILED
    assert decision.status.reason is EndReason(cause.value)
    assert decision.status.message.startswith("The scheduler's process could not be started, because ")
    assert ": docker.io/no-such: not found. " in decision.status.message


def test_a_scheduler_that_fails_to_start_ends_its_cluster_as_a_command_that_is_missing_does() -> None:
    full = StartError("the disk is full", NOW + 5, ExitCause.START_FAILED, frozenset([SCHEDULER]))
    decision = decide(STARTING, processes={}, start_errors={None: full})
    assert decision.status.phase is Phase.FAILED
    assert decision.status.reason is EndReason.BACKEND_ERROR
    assert decision.status.message == "The scheduler cannot be started: the disk is full."


def test_workers_that_fail_to_start_are_replaced_after_pauses_until_their_limit() -> None:
    state, now, pauses = running_cluster(worker("default-1"), groups=[Group(size=1)]), NOW, list[float]()
    for n in (1, 2, 3):
        full = StartError("the disk is full", now + 5, ExitCause.START_FAILED, frozenset([f"default-{n}"]))
        seen: dict[str, Any] = {"start_errors": {"default": full}, "log_tail": {"default-3": ""}}
        failed = decide(state, process(), now=now, policy=POLICY, **seen)
        assert states(failed)[f"default-{n}"] is WorkerState.FAILED
        if n < 3:
            pauses.append(failed.status.backoffs["default"].retry_at - now)
            now += pauses[-1]
            state = after(decide(after(failed, state), process(), now=now, policy=POLICY), state)
    assert pauses == [0.5, 1.0]
    assert failed.status.reason is EndReason.WORKERS_FAILED
    assert failed.status.message == (
        "Workers failed to start 3 times in a row. The last failure: it cannot be started: the disk is full."
    )


def test_a_scheduler_that_runs_after_all_is_not_ended_by_an_old_refusal() -> None:
    decision = decide(STARTING, process(), start_errors={None: refusal(ExitCause.REFUSED, SCHEDULER)})
    assert decision.status.phase is Phase.STARTING


def test_an_error_without_a_cause_is_tried_again() -> None:
    later = decide(STARTING, processes={}, start_errors={None: StartError("away", NOW - 45)}, now=NOW - 50)
    assert (later.status.phase, later.requeue_at) == (Phase.STARTING, NOW - 45)
    again = decide(STARTING, processes={}, start_errors={None: StartError("away", NOW - 60)}, now=NOW - 50)
    assert again.actions == (StartProcesses((SCHEDULER,)),)


def test_workers_that_are_refused_end_a_cluster_that_has_no_others() -> None:
    state = running_cluster(worker("default-1"), worker("default-2"), groups=[Group(size=2)])
    errors = {"default": refusal(ExitCause.REFUSED, "default-1", "default-2")}
    decision = decide(state, process(), policy=POLICY, start_errors=errors)
    assert decision.actions == (StopAll(),)
    assert decision.status.reason is EndReason.WORKERS_FAILED
    assert decision.status.message == (
        f"No worker can be started. The failure: it cannot be started: {QUOTA}. Choose other options, or ask an "
        "administrator."
    )
    assert [(e.type, e.exit_cause) for e in decision.events] == [
        (EventType.WORKERS_FAILED, ExitCause.REFUSED),
        (EventType.FAILING, ExitCause.REFUSED),
    ]
    found = decision.workers[WorkerId("default-1")]
    assert found.state is WorkerState.FAILED
    assert found.exit is not None
    assert found.exit.cause is ExitCause.REFUSED


@pytest.mark.parametrize("cause", CAUSES)
def test_beside_workers_that_run_a_refusal_is_a_condition_and_not_tried_for_ever(cause: ExitCause) -> None:
    state = running_cluster(running("default-1"), worker("default-2"), groups=[Group(size=2)])
    seen = process(), process("default-1")
    decision = decide(state, *seen, policy=POLICY, start_errors={"default": refusal(cause, "default-2")})
    assert decision.status.phase is Phase.RUNNING
    assert states(decision)["default-2"] is WorkerState.FAILED
    assert conditions(decision)[ConditionType.STARTABLE] == (ConditionStatus.FALSE, "StartFailed")
    backoff = decision.status.backoffs["default"]
    assert (backoff.failures, backoff.cause) == (3, cause)
    assert backoff.retry_at == (NOW + 30 if cause is ExitCause.QUOTA_EXCEEDED else math.inf)
    assert decision.requeue_at == (NOW + 30 if cause is ExitCause.QUOTA_EXCEEDED else None)

    state = after(decision, state)
    much_later = decide(state, *seen, now=NOW + 1e9, policy=POLICY)
    assert bool(much_later.actions) == (cause is ExitCause.QUOTA_EXCEEDED)
    changed = replace(state, generation=2)
    old = {"default": refusal(cause, "default-2")}
    assert decide(changed, *seen, policy=POLICY, start_errors=old).actions == (StartProcesses(("default-3",)),)


def test_what_a_quota_had_room_for_may_still_join() -> None:
    state = running_cluster(worker("default-1"), worker("default-2"), groups=[Group(size=2)])
    accepted = process("default-1", ProcessState.PENDING)
    errors = {"default": refusal(ExitCause.QUOTA_EXCEEDED, "default-1", "default-2")}
    decision = decide(state, process(), accepted, policy=POLICY, start_errors=errors)
    assert decision.status.phase is Phase.RUNNING
    assert states(decision) == {"default-1": WorkerState.PENDING, "default-2": WorkerState.FAILED}

    state = after(decision, state)
    gone = exited_process("default-1", code=None, cause=ExitCause.IMAGE_UNAVAILABLE)
    end = decide(state, process(), gone, now=NOW + 1, policy=POLICY)
    assert end.status.reason is EndReason.WORKERS_FAILED
    assert kinds(end) == [EventType.WORKERS_FAILED, EventType.FAILING]


def test_starts_that_others_end_pause_and_never_end_the_cluster() -> None:
    state, now = running_cluster(worker("default-1"), groups=[Group(size=1)]), NOW
    for n in range(1, 8):
        gone = exited_process(f"default-{n}", code=137, cause=ExitCause.PREEMPTED)
        state = after(decide(state, process(), gone, now=now, policy=POLICY), state)
        assert state.status.phase is Phase.RUNNING
        now = state.status.backoffs["default"].retry_at
        state = after(decide(state, process(), now=now, policy=POLICY), state)
    assert state.status.backoffs["default"].failures == 7
