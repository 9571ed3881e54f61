"""The end: everything is stopped first, and nothing is started any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace_controller.backends.base import SCHEDULER, ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.model import (
    Cluster,
    ClusterId,
    EndReason,
    Group,
    Phase,
    Spec,
    Status,
    UserId,
    WorkerId,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.plan import Decision, Policy, Seen, StopAll, plan

WORKER = WorkerRecord(id=WorkerId("default-1-a"), group="default", state=WorkerState.RUNNING)
RUNNING = Cluster(
    id=ClusterId("c1"),
    owner=UserId("ann"),
    created=100.0,
    spec=Spec(groups=(Group(size=3),)),
    status=Status(phase=Phase.RUNNING, scheduler_created=100.0, started=101.0, workers={WORKER.id: WORKER}),
)


def asked_to_stop(reason: EndReason = EndReason.USER) -> Cluster:
    return replace(RUNNING, spec=replace(RUNNING.spec, stop=reason), generation=2)


def decide(cluster: Cluster, *running: str, ended: tuple[str, ...] = (), now: float = 200.0) -> Decision:
    processes = {
        name: ProcessStatus(
            key=ProcessKey("c1", name),
            role=Role.SCHEDULER if name == SCHEDULER else Role.WORKER,
            generation=1,
            state=ProcessState.EXITED if name in ended else ProcessState.RUNNING,
        )
        for name in (*running, *ended)
    }
    return plan(
        cluster, Seen(processes=processes), now, Policy(stop_again=5), lambda group, n: WorkerId(f"{group}-{n}")
    )


def test_what_runs_is_stopped_before_the_cluster_has_ended() -> None:
    stopping = decide(asked_to_stop(), SCHEDULER, WORKER.id)
    assert stopping.actions == (StopAll(),)
    assert stopping.status.phase is Phase.STOPPING
    assert stopping.status.reason is EndReason.USER
    assert stopping.status.message == "Stopping: it was asked to stop."
    assert stopping.status.observed_generation == 2
    assert [event.type for event in stopping.events] == ["Stopping"]
    assert stopping.look_again == 205.0

    later = decide(replace(asked_to_stop(), status=stopping.status), WORKER.id, ended=(SCHEDULER,), now=201.0)
    assert later.actions == (StopAll(),)
    assert later.status == stopping.status
    assert later.events == ()

    ended = decide(replace(asked_to_stop(), status=stopping.status), ended=(SCHEDULER, WORKER.id), now=202.0)
    assert ended.actions == ()
    assert ended.status.phase is Phase.STOPPED
    assert ended.status.message == "Stopped: it was asked to stop."
    assert ended.status.ended == 202.0
    assert ended.status.workers[WORKER.id].state is WorkerState.CLOSED
    assert [event.type for event in ended.events] == ["Stopped"]
    assert ended.look_again is None


def test_a_cluster_that_never_started_ends_at_once() -> None:
    new = replace(asked_to_stop(), status=Status())
    decision = decide(new)
    assert decision.status.phase is Phase.STOPPED
    assert [event.type for event in decision.events] == ["Stopping", "Stopped"]


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_reason_has_its_sentence_and_its_phase(reason: EndReason) -> None:
    decision = decide(asked_to_stop(reason))
    assert decision.status.reason is reason
    assert decision.status.phase is (Phase.FAILED if reason.failure else Phase.STOPPED)
    assert decision.status.message.endswith(".")


def test_the_first_reason_stays() -> None:
    failing = replace(RUNNING.status, phase=Phase.STOPPING, reason=EndReason.SCHEDULER_LOST, message="It is gone.")
    decision = decide(replace(asked_to_stop(), status=failing))
    assert decision.status.phase is Phase.FAILED
    assert (decision.status.reason, decision.status.message) == (EndReason.SCHEDULER_LOST, "It is gone.")


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.FAILED])
def test_what_appears_after_the_end_is_stopped(phase: Phase) -> None:
    ended = replace(asked_to_stop(), status=Status(phase=phase, ended=150.0))
    assert decide(ended) == Decision(status=ended.status)
    assert decide(ended, ended=(SCHEDULER,)) == Decision(status=ended.status)
    assert decide(ended, WORKER.id) == Decision(status=ended.status, actions=(StopAll(),), look_again=205.0)


def test_workers_that_had_failed_stay_failed() -> None:
    failed = replace(WORKER, state=WorkerState.FAILED)
    cluster = replace(asked_to_stop(), status=replace(RUNNING.status, workers={WORKER.id: failed}))
    assert decide(cluster).status.workers == {WORKER.id: failed}
