"""Processes that others are ending: a worker is replaced while it hands its data over, a cluster ends with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import (
    NOW,
    WORKER_ADDRESS,
    connected_report,
    exited_process,
    process,
    running_cluster,
    running_worker,
    worker,
)
from tests.controller.plan.deciding import conditions, decide, kinds, messages, states

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER, ProcessStatus
from headrace_controller.model import Cluster, Departure, EndReason, Group, Phase, WorkerId, WorkerState
from headrace_controller.options.shapes import demand
from headrace_controller.plan import Decision, Policy, StartProcesses

ONE = WorkerId("default-1")
OTHERS = [ExitCause.EVICTED, ExitCause.PREEMPTED, ExitCause.NODE_LOST, ExitCause.DELETED]
POLICY = Policy(scheduler_lost=30)


def leaving(name: str = "default-1", cause: ExitCause = ExitCause.EVICTED, **facts: Any) -> ProcessStatus:
    return process(name, leaving=cause, **facts)


def cluster(*workers: Any, size: int = 1, **facts: Any) -> Cluster:
    return running_cluster(*workers, groups=[Group(size=size)], **facts)


def after(decision: Decision, before: Cluster) -> Cluster:
    return replace(before, status=decision.status, workers=decision.workers)


@pytest.mark.parametrize("cause", OTHERS)
def test_a_worker_that_others_end_is_replaced_at_once(cause: ExitCause) -> None:
    before = cluster(running_worker())
    decision = decide(before, process(), leaving(cause=cause, message="the node is drained"))
    assert states(decision) == {"default-1": WorkerState.RETIRING, "default-2": WorkerState.PENDING}
    assert decision.actions == (StartProcesses(("default-2",)),)  # the one that leaves is not stopped
    assert kinds(decision) == [EventType.WORKERS_LEAVING, EventType.WORKERS_STARTING]
    assert decision.events[0].exit_cause is cause
    assert decision.events[0].message.endswith(
        ": the node is drained. Its data moves to other workers, and it is replaced."
    )
    assert decision.workers[ONE].leaving is cause
    assert conditions(decision)[ConditionType.WORKERS_READY][0] is ConditionStatus.FALSE

    state = after(decision, before)
    assert demand(state) == demand(before)  # what is promised, not what still runs
    again = decide(state, process(), leaving(cause=cause), process("default-2"), now=NOW + 1)
    assert (again.events, again.actions) == ((), ())
    assert again.workers is state.workers


def test_workers_that_leave_together_are_one_event() -> None:
    names = ["default-1", "default-2", "default-3"]
    decision = decide(cluster(*map(running_worker, names), size=3), process(), *map(leaving, names))
    [message] = messages(decision, EventType.WORKERS_LEAVING)
    assert message == (
        "3 workers are leaving; of them, default-1 is being evicted from its node. Their data moves to other workers, "
        "and they are replaced."
    )


def test_one_that_has_handed_its_data_over_has_ended_for_the_reason() -> None:
    state = after(decide(cluster(running_worker()), process(), leaving()), cluster(running_worker()))
    state = replace(state, report=connected_report(joined={}, retired=frozenset({ONE})))
    decision = decide(state, process(), leaving(), process("default-2"), now=NOW + 2)
    assert [(e.type, e.message, e.exit_cause) for e in decision.events] == [
        (
            EventType.WORKERS_CLOSED,
            "Worker default-1 has ended. Its process was evicted from its node. Its data has moved to other workers.",
            ExitCause.EVICTED,
        )
    ]
    assert decision.workers[ONE].state is WorkerState.CLOSED
    state = after(decision, state)
    for seen in (ExitCause.EXITED, ExitCause.STOPPED):  # as it looks from outside
        gone = exited_process("default-1", 0, seen)
        exit_ = decide(state, process(), gone, process("default-2"), now=NOW + 3).workers[ONE].exit
        assert exit_ is not None
        assert exit_.cause is ExitCause.EVICTED


@pytest.mark.parametrize("cause", OTHERS)
def test_a_loss_says_who_ended_it_and_what_it_costs(cause: ExitCause) -> None:
    state = cluster(running_worker(), report={"joined": {}, "departures": {ONE: Departure(results_lost=3)}})
    gone = exited_process("default-1", 137, cause, message="memory ran short")
    decision = decide(state, process(), gone)
    [lost] = [event for event in decision.events if event.type is EventType.WORKERS_LOST]
    assert lost.exit_cause is cause
    assert lost.message.startswith("Worker default-1 was lost. Its process was ")
    assert lost.message.endswith("memory ran short. This costs 3 results to compute again.")
    assert StartProcesses(("default-2",)) in decision.actions
    assert decision.status.backoffs == {}


def test_losses_for_different_reasons_are_told_apart() -> None:
    names = ["default-1", "default-2", "default-3"]
    report = {"joined": {}, "departures": {WorkerId(name): Departure() for name in names}}
    table = [
        exited_process("default-1", 137, ExitCause.EVICTED),
        exited_process("default-2", 137, ExitCause.NODE_LOST),
        exited_process("default-3", 1),
    ]
    decision = decide(cluster(*map(running_worker, names), size=3, report=report), process(), *table)
    assert [event.exit_cause for event in decision.events if event.type is EventType.WORKERS_LOST] == [
        ExitCause.EVICTED,
        ExitCause.NODE_LOST,
        ExitCause.EXITED,
    ]


def test_one_that_leaves_without_being_ended_stays_until_its_process_is_gone() -> None:
    state = after(decide(cluster(running_worker()), process(), leaving()), cluster(running_worker()))
    state = replace(state, report=connected_report(joined={}, departures={ONE: Departure()}))
    decision = decide(state, process(), leaving(), process("default-2"), now=NOW + 90)
    assert decision.workers[ONE].state is WorkerState.RETIRING
    assert WorkerState.RETIRING not in states(decide(state, process(), process("default-2"), now=NOW + 90)).values()


def test_one_that_may_stay_after_all_counts_again() -> None:
    state = after(decide(cluster(running_worker()), process(), leaving()), cluster(running_worker()))
    decision = decide(state, process(), process("default-1"), now=NOW + 1)
    assert decision.workers[ONE] == running_worker(since=NOW + 1)
    assert states(decision)["default-2"] is WorkerState.CLOSED


def test_one_that_has_not_joined_is_replaced_and_is_no_failed_start() -> None:
    decision = decide(cluster(worker()), process(), leaving())
    assert states(decision) == {"default-1": WorkerState.RETIRING, "default-2": WorkerState.PENDING}
    state = after(decision, cluster(worker()))
    gone = decide(state, process(), exited_process("default-1", 143), process("default-2"), now=NOW + 2)
    assert gone.workers[ONE].state is WorkerState.FAILED
    assert gone.status.backoffs == {}


def test_a_group_that_shrinks_meanwhile_has_nobody_else_retired() -> None:
    before = cluster(running_worker("default-1"), running_worker("default-2"), size=1)
    decision = decide(before, process(), leaving("default-1"), process("default-2"))
    assert states(decision) == {"default-1": WorkerState.RETIRING, "default-2": WorkerState.RUNNING}


def test_a_scheduler_that_others_end_is_announced_once_and_ends_its_cluster_with_the_reason() -> None:
    state = cluster(running_worker())
    told = decide(state, leaving(SCHEDULER, ExitCause.PREEMPTED, message="by pod x"), process("default-1"))
    assert [(e.type, e.message, e.exit_cause) for e in told.events] == [
        (
            EventType.SCHEDULER_LEAVING,
            "The scheduler is being preempted: by pod x. The cluster ends with it.",
            ExitCause.PREEMPTED,
        )
    ]
    assert told.status.phase is Phase.RUNNING
    assert told.status.message == "The scheduler is being preempted: by pod x."
    state = after(told, state)
    again = decide(state, leaving(SCHEDULER, ExitCause.PREEMPTED, message="by pod x"), process("default-1"))
    assert (again.events, again.status) == ((), state.status)

    end = decide(state, exited_process(code=0), process("default-1"), log_tail={SCHEDULER: ""})
    assert end.status.reason is EndReason.PREEMPTED
    assert end.status.message == "The scheduler's process was preempted. Create a new cluster to continue."
    assert end.events[-1].exit_cause is ExitCause.PREEMPTED


def test_a_cluster_that_becomes_usable_says_at_once_that_its_scheduler_is_being_ended() -> None:
    state = cluster(status={"phase": Phase.STARTING, "started": None}, size=0)
    decision = decide(state, leaving(SCHEDULER, ExitCause.PREEMPTED))
    assert decision.status.phase is Phase.RUNNING
    assert decision.status.message == "The scheduler is being preempted."


def test_a_scheduler_that_is_not_ended_after_all_is_as_before() -> None:
    state = cluster(status={"leaving": ExitCause.NODE_LOST, "message": "The scheduler is about to be lost."}, size=0)
    decision = decide(state, process())
    assert (decision.status.leaving, decision.status.message, decision.events) == (None, "", ())


def test_a_scheduler_that_is_silent_on_a_lost_node_is_lost_with_it() -> None:
    facts = {"report": {"connected": False, "changed": NOW}, "status": {"leaving": ExitCause.NODE_LOST}}
    state = cluster(size=0, **facts)
    process_ = leaving(SCHEDULER, ExitCause.NODE_LOST)
    end = decide(state, process_, now=NOW + 30, policy=POLICY, log_tail={SCHEDULER: ""})
    assert end.status.reason is EndReason.NODE_LOST
    assert end.status.message == (
        "The scheduler is about to be lost with its node. It has not answered for 30 s. Create a new cluster to "
        "continue."
    )
    unseen = decide(state, processes={}, now=NOW + 30, policy=POLICY, log_tail={SCHEDULER: ""})
    assert unseen.status.message.startswith("The scheduler does not answer. It has not answered for 30 s.")


def test_a_scheduler_that_a_signal_ended_says_so() -> None:
    state = cluster(report={"closing": EndReason.SCHEDULER_LOST}, size=0)
    assert decide(state, process()).status.phase is Phase.RUNNING  # until it has ended, and the backend knows more
    end = decide(state, exited_process(code=0), log_tail={SCHEDULER: ""})
    assert end.status.reason is EndReason.SCHEDULER_LOST
    assert "by a signal that headrace did not send" in end.status.message
    known = decide(state, exited_process(code=0, cause=ExitCause.EVICTED), log_tail={SCHEDULER: ""})
    assert known.status.reason is EndReason.EVICTED


def test_a_cause_that_a_newer_release_knows_is_told_in_general_words() -> None:
    new = ExitCause("SOMETHING_NEW")
    told = decide(cluster(running_worker()), process(), leaving(cause=new))
    assert "default-1 is being ended, and not by headrace." in told.events[0].message
    state = replace(
        after(told, cluster(running_worker())), report=connected_report(joined={}, retired=frozenset({ONE}))
    )
    [closed] = messages(decide(state, process(), leaving(cause=new)), EventType.WORKERS_CLOSED)
    assert "Its process was ended, and not by headrace." in closed


def test_leaving_is_seen_of_one_whose_address_is_as_recorded() -> None:
    state = cluster(running_worker(), report={"joined": {ONE: WORKER_ADDRESS}})
    assert decide(state, process(), leaving()).workers[ONE].state is WorkerState.RETIRING
