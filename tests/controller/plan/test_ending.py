"""The end: everything is stopped first, and nothing is launched any more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.controller.builders import exited_process, new_cluster, process, running_cluster, running_worker
from tests.controller.plan.deciding import decide, kinds

from headrace.v1.enums import EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.model import Cluster, EndReason, Exit, Group, Phase, Status, WorkerState
from headrace_controller.plan import Decision, Policy, StopAll

POLICY = Policy(stop_retry=5)
WORKER = running_worker("default-1")
RUNNING = running_cluster(WORKER, groups=[Group(size=3)])
ASKED_TO_STOP = replace(RUNNING, spec=replace(RUNNING.spec, stop=True), generation=2)


def with_status(decision: Decision, cluster: Cluster = ASKED_TO_STOP) -> Cluster:
    return replace(cluster, status=decision.status, workers=decision.workers)


def test_what_runs_is_stopped_before_the_cluster_has_ended() -> None:
    stopping = decide(ASKED_TO_STOP, policy=POLICY)
    assert stopping.actions == (StopAll(),)
    assert stopping.status.phase is Phase.STOPPING
    assert stopping.status.reason is EndReason.USER
    assert stopping.status.message == "A user stopped the cluster."
    assert stopping.status.observed_generation == 2
    assert kinds(stopping) == [EventType.STOPPING]
    assert stopping.requeue_at == 1005.0

    later = decide(with_status(stopping), process(WORKER.id), exited_process(), now=1001.0)
    assert later.actions == (StopAll(),)
    assert later.status is stopping.status
    assert later.events == ()

    ended = decide(with_status(stopping), exited_process(), exited_process(WORKER.id), now=1002.0)
    assert ended.actions == ()
    assert ended.status.phase is Phase.STOPPED
    assert ended.status.message == "A user stopped the cluster."
    assert ended.status.ended == 1002.0
    assert ended.workers[WORKER.id].state is WorkerState.CLOSED
    assert ended.workers[WORKER.id].exit == Exit(cause=ExitCause.EXITED, code=1, time=1002.0)
    assert kinds(ended) == [EventType.STOPPED]
    assert ended.requeue_at is None


def test_a_cluster_that_never_started_ends_at_once() -> None:
    new = replace(ASKED_TO_STOP, status=Status(), workers={})
    decision = decide(new, processes={})
    assert decision.status.phase is Phase.STOPPED
    assert kinds(decision) == [EventType.STOPPING, EventType.STOPPED]


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_reason_ends_with_its_phase_and_its_sentence(reason: EndReason) -> None:
    stopping = replace(RUNNING.status, phase=Phase.STOPPING, reason=reason, message="Why.", log_tail="x")
    decision = decide(replace(RUNNING, status=stopping), processes={})
    assert decision.status.reason is reason
    assert decision.status.phase is (Phase.FAILED if reason.failure else Phase.STOPPED)
    assert (decision.status.message, decision.status.log_tail) == ("Why.", "x")
    assert kinds(decision) == [EventType.FAILED if reason.failure else EventType.STOPPED]


def test_the_first_reason_stays() -> None:
    failing = replace(RUNNING.status, phase=Phase.STOPPING, reason=EndReason.SCHEDULER_LOST, message="It is gone.")
    decision = decide(replace(ASKED_TO_STOP, status=failing), processes={})
    assert decision.status.phase is Phase.FAILED
    assert (decision.status.reason, decision.status.message) == (EndReason.SCHEDULER_LOST, "It is gone.")


def test_a_rule_ends_a_cluster_without_a_change_of_its_spec() -> None:
    failing = decide(RUNNING, exited_process(), log_tail={SCHEDULER: ""})
    assert failing.status.phase is Phase.FAILED
    assert failing.status.observed_generation == RUNNING.generation


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.FAILED])
def test_what_appears_after_the_end_is_stopped(phase: Phase) -> None:
    ended = replace(ASKED_TO_STOP, status=Status(phase=phase, ended=950.0))
    nothing = Decision(status=ended.status, workers=ended.workers)
    assert decide(ended, processes={}) == nothing
    assert decide(ended, exited_process()) == nothing
    assert decide(ended, process(WORKER.id)) == replace(nothing, actions=(StopAll(),), requeue_at=1005.0)


def test_workers_that_had_failed_stay_failed() -> None:
    failed = replace(WORKER, state=WorkerState.FAILED)
    cluster = replace(ASKED_TO_STOP, workers={WORKER.id: failed})
    assert decide(cluster, processes={}).workers == {WORKER.id: failed}


def test_a_queued_cluster_waits_until_it_is_stopped() -> None:
    queued = replace(new_cluster("c1"), status=Status(phase=Phase.QUEUED))
    assert decide(queued, processes={}) == Decision(status=Status(phase=Phase.QUEUED, observed_generation=1))
    stopped = replace(queued, spec=replace(queued.spec, stop=True))
    assert decide(stopped, processes={}).status.phase is Phase.STOPPED
