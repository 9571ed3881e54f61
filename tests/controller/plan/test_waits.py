"""Processes that wait to run: why and since when is said, and a wait is no failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import (
    CREATED_AT,
    NOW,
    WORKER_ADDRESS,
    new_cluster,
    process,
    running_cluster,
    running_worker,
    worker,
)
from tests.controller.plan.deciding import decide, kinds, messages, states

from headrace.v1.enums import EventType, WaitReason
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus
from headrace_controller.model import Cluster, EndReason, Group, Phase, Report, Status, WorkerId, WorkerState
from headrace_controller.plan import Decision, FetchLogTail, Policy, RouteState, StartError, StopAll

POLICY = Policy(start_timeout=60, pending_timeout=600)
STARTING = replace(new_cluster("c1"), status=Status(scheduler_created=CREATED_AT, observed_generation=1))
NO_NODE = "0/12 nodes are available: 12 Insufficient cpu."
UNSCHEDULABLE, NODE_COMING = WaitReason.UNSCHEDULABLE, WaitReason.NODE_COMING
IMAGE_PULL, AT_START = WaitReason.IMAGE_PULL, WaitReason.STARTING
AWAY = WaitReason.PLATFORM_AWAY


def waiting(name: str = SCHEDULER, reason: WaitReason | None = UNSCHEDULABLE, message: str = NO_NODE) -> ProcessStatus:
    return process(name, ProcessState.PENDING, wait=reason, message=message)


def plan(cluster: Cluster, *processes: ProcessStatus, now: float, **seen: Any) -> Decision:
    return decide(cluster, *processes, now=now, policy=POLICY, **{"route": RouteState(), **seen})


def after(decision: Decision, before: Cluster) -> Cluster:
    return replace(before, status=decision.status, workers=decision.workers)


@pytest.mark.parametrize(
    ("reason", "message", "sentence"),
    [
        (UNSCHEDULABLE, NO_NODE, f"The scheduler waits for room on a node: {NO_NODE}"),
        (NODE_COMING, "group spot", "The scheduler waits for a node that is being added: group spot."),
        (
            WaitReason.NO_NODE_COMING,
            "2 max node group size reached",
            "The scheduler waits for room on a node, and no node is being added: 2 max node group size reached.",
        ),
        (IMAGE_PULL, "python:3.12", "The scheduler waits for an image to be pulled: python:3.12."),
        (WaitReason("NEW_REASON"), "", "The scheduler waits for room."),
    ],
)
def test_why_a_scheduler_waits_is_an_event_and_the_message(reason: WaitReason, message: str, sentence: str) -> None:
    decision = plan(STARTING, waiting(reason=reason, message=message), now=901.0)
    assert [(e.type, e.message, e.wait) for e in decision.events] == [(EventType.WAITING, sentence, reason)]
    what, colon, rest = sentence.rstrip(".").partition(":")
    assert decision.status.message == f"{what} since 00:15 UTC{colon}{rest}."


def test_a_process_that_just_starts_is_no_event() -> None:
    decision = plan(STARTING, waiting(reason=AT_START, message="on node-1"), now=901.0)
    assert decision.events == ()
    assert decision.status.message == "The scheduler waits for the process to start since 00:15 UTC: on node-1."


def test_other_numbers_and_reasons_that_come_back_are_not_told_again_but_shown() -> None:
    state, told = STARTING, list[EventType]()
    for n in range(20):
        nodes = f"0/{n} nodes are available"
        decision = plan(state, waiting(reason=(UNSCHEDULABLE, NODE_COMING)[n % 2], message=nodes), now=902.0 + n)
        told += kinds(decision)
        assert nodes in decision.status.message
        state = after(decision, state)
    assert told == [EventType.WAITING, EventType.WAITING]
    assert plan(state, process(), now=930.0).status.waits == {}


def test_the_time_of_waiting_does_not_count_against_the_start() -> None:
    decision = plan(STARTING, waiting(), now=CREATED_AT + 599)
    assert decision.status.phase is Phase.STARTING
    assert decision.requeue_at == CREATED_AT + 600
    runs = plan(after(decision, STARTING), process(runs_since=CREATED_AT + 599), now=CREATED_AT + 650)
    assert runs.status.phase is Phase.STARTING
    assert runs.requeue_at == CREATED_AT + 659
    late = plan(STARTING, process(runs_since=CREATED_AT + 599), now=CREATED_AT + 659)
    assert late.actions == (FetchLogTail(SCHEDULER),)


def test_the_time_that_the_backend_is_away_does_not_count_against_the_start() -> None:
    away = {None: StartError("pod p cannot be created: the API server does not answer", CREATED_AT + 600, wait=AWAY)}
    decision = plan(STARTING, now=CREATED_AT + 599, processes={}, start_errors=away)
    assert decision.status.phase is Phase.STARTING
    assert decision.status.message == (
        "The scheduler cannot be started: pod p cannot be created: the API server does not answer. It is tried again "
        "until 00:25 UTC."
    )
    runs = plan(after(decision, STARTING), process(runs_since=CREATED_AT + 599), now=CREATED_AT + 650)
    assert runs.status.phase is Phase.STARTING
    assert runs.requeue_at == CREATED_AT + 659
    late = plan(STARTING, now=CREATED_AT + 600, processes={}, start_errors=away)
    assert FetchLogTail(SCHEDULER) in late.actions


def test_a_launch_that_nothing_is_heard_of_is_given_up_after_the_start_timeout() -> None:
    assert plan(STARTING, now=CREATED_AT + 59, processes={}).status.phase is Phase.STARTING
    assert plan(STARTING, now=CREATED_AT + 60, processes={}).actions == (FetchLogTail(SCHEDULER),)


@pytest.mark.parametrize("wrong", [-1e9, 1e9])
def test_clocks_of_other_machines_decide_nothing(wrong: float) -> None:
    scheduler = process(started=CREATED_AT + wrong, runs_since=CREATED_AT + 10)
    assert plan(STARTING, scheduler, now=CREATED_AT + 69).requeue_at == CREATED_AT + 70
    assert plan(STARTING, scheduler, now=CREATED_AT + 70).actions == (FetchLogTail(SCHEDULER),)
    joining = process("default-1", started=NOW + wrong, runs_since=NOW)
    state = running_cluster(worker(), groups=[Group(size=1)])
    assert decide(state, process(), joining, now=NOW + 59).requeue_at == NOW + 60
    assert states(decide(state, process(), joining, now=NOW + 60))["default-1"] is WorkerState.FAILED


def test_a_wait_that_is_too_long_ends_the_cluster_and_says_for_what() -> None:
    state = after(plan(STARTING, waiting(), now=901.0), STARTING)
    decision = plan(state, waiting(), now=CREATED_AT + 600, log_tail={SCHEDULER: ""})
    assert decision.actions == (StopAll(),)
    assert decision.status.reason is EndReason.START_TIMEOUT
    assert decision.status.message == (
        f"The cluster was not usable within 10 min. The scheduler waits for room on a node since 00:15 UTC: {NO_NODE}"
    )


def test_workers_that_wait_are_one_event_for_each_group_and_reason() -> None:
    names = ["cpu-1", "cpu-2", "cpu-3", "gpu-4"]
    groups = [Group(name="cpu", size=3), Group(name="gpu", size=1)]
    state = running_cluster(*map(worker, names), groups=groups)
    table = [process(), waiting("cpu-1"), waiting("cpu-2"), waiting("cpu-3", IMAGE_PULL, "x"), waiting("gpu-4")]
    decision = decide(state, *table)
    assert messages(decision, EventType.WAITING) == [
        f"Workers of group cpu wait for room on a node: {NO_NODE}",
        "Workers of group cpu wait for an image to be pulled: x.",
        f"Workers of group gpu wait for room on a node: {NO_NODE}",
    ]
    assert decision.workers[WorkerId("cpu-1")].message == f"Waiting for room on a node since 00:16 UTC: {NO_NODE}"

    state = after(decision, state)
    assert decide(state, *table[:-1], waiting("gpu-4", message="0/13 nodes"), now=NOW + 1).workers is state.workers
    joined = {WorkerId(name): WORKER_ADDRESS for name in names}
    state = replace(state, report=replace(state.report, joined=joined))
    runs = decide(state, process(), *map(process, names), now=NOW + 2)
    assert runs.status.waits == {}
    assert {(w.wait, w.message) for w in runs.workers.values()} == {(None, "")}


def test_a_worker_that_begins_to_run_waits_for_nothing() -> None:
    waits = worker(wait=UNSCHEDULABLE, message="Waiting for room on a node.")
    decision = decide(running_cluster(waits, groups=[Group(size=1)]), process(), process("default-1", runs_since=NOW))
    assert decision.workers[WorkerId("default-1")] == worker()


def test_nothing_is_kept_of_a_group_that_was_removed_or_of_a_cluster_that_ended() -> None:
    waits = {"": {UNSCHEDULABLE: 1.0}, "gone": {UNSCHEDULABLE: 1.0}, "default": {UNSCHEDULABLE: 1.0}}
    state = running_cluster(running_worker(), groups=[Group(size=1)], status={"waits": waits})
    assert decide(state).status.waits == {}
    ending = replace(state, status=replace(state.status, phase=Phase.STOPPING), report=Report())
    assert decide(ending, processes={}).status.waits == {}
