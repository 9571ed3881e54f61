"""A cluster that waits for room: what it is told, when it ends, and its start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import NOW, new_cluster, running_cluster
from tests.controller.plan.deciding import decide

from headrace.v1.enums import EventType
from headrace_controller.model import Cluster, EndReason, Group, Phase, Queued, Severity, Status
from headrace_controller.plan import Place, StartProcesses
from headrace_controller.plan.findings import Finding
from headrace_controller.plan.queueing import rounded, steps

RATE = "At the recent rate, some start in about"


def waiting(spec: dict[str, Any] | None = None, **facts: Any) -> Cluster:
    limit: dict[str, Any] = {"subject": "users/ann", "resource": "workers", "most": 10, "used": 8, "asked": 4}
    facts = {"since": NOW - 60, "turn": 1.0, **limit, **facts}
    queued = Queued(**facts)
    return replace(new_cluster("c1", **(spec or {})), status=Status(phase=Phase.QUEUED), queued=queued)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (None, ""),
        (Place(0), " It is the next."),
        (Place(1), " 1 cluster is before it."),
        (Place(4, 150.0), " 4 clusters are before it. At the recent rate, it starts in about 2 min."),
        (Place(17, 7.0), " About 20 clusters are before it. At the recent rate, it starts in about 10 s."),
    ],
)
def test_it_is_told_what_it_waits_for_and_its_place(place: Place | None, text: str) -> None:
    decision = decide(waiting(), processes={}, place=place)
    assert decision.status.phase is Phase.QUEUED
    assert decision.status.message == f"Waiting for room: users/ann may have 10 workers, of which 8 are used.{text}"
    [event] = decision.events
    assert (event.type, event.message) == (EventType.QUEUED, decision.status.message)
    assert decision.actions == ()


def test_it_is_told_once() -> None:
    cluster = waiting(resource="memory_bytes", most=2**34, used=2**33, asked=2**34)
    first = decide(cluster, processes={}, place=Place(12))
    assert "users/ann may have 16 GiB of memory, of which 8 GiB is used" in first.status.message
    again = decide(replace(cluster, status=first.status), processes={}, place=Place(20))
    assert again.events == ()
    assert again.status is first.status


def test_large_numbers_are_rounded_up() -> None:
    assert [rounded(n) for n in (0, 1, 5, 6, 11, 20, 21, 51, 100, 101, 4999, 5001)] == [
        *(0, 1, 5, 10, 20, 20, 50, 100, 100, 200, 5000, 10000)
    ]


@pytest.mark.parametrize("most", [0, 1, 6, 10, 11, 20, 21, 5001])
def test_the_steps_are_where_the_rounded_number_changes(most: int) -> None:
    assert list(steps(most)) == [n for n in range(1, most + 1) if rounded(n) != rounded(n - 1)]


def test_it_gives_up_in_time() -> None:
    cluster = waiting(timeout=90.0)
    assert decide(cluster, processes={}).requeue_at == NOW + 30
    decision = decide(cluster, processes={}, now=NOW + 30)
    assert (decision.status.phase, decision.status.reason) == (Phase.FAILED, EndReason.QUEUE_TIMEOUT)
    assert decision.status.message.startswith(
        "The cluster waited for room for 1 min 30 s: users/ann may have 10 workers"
    )


def test_room_that_became_free_without_a_controller_may_still_be_had() -> None:
    cluster = waiting(timeout=10.0)
    assert decide(cluster, processes={}, watching_since=NOW - 5).requeue_at == NOW + 5


def test_it_ends_if_no_wait_can_help() -> None:
    decision = decide(waiting(never=True, asked=12), processes={})
    assert (decision.status.phase, decision.status.reason) == (Phase.STOPPED, EndReason.LIMIT)
    assert (
        decision.status.message
        == "The cluster asks for 12 workers, and users/ann may have 10 workers. Create a smaller one."
    )
    assert decision.events[-1].severity is Severity.INFO


def test_it_ends_when_a_budget_would_refuse_it() -> None:
    facts: dict[str, Any] = {"warn": 60.0, "why": "the budget of users/ann is used up", "advice": "Ask for more."}
    lifetime = Finding(rule="lifetime", reason=EndReason.LIFETIME, due=NOW, **facts)
    unknown, later, now = (
        Finding(rule="budget", reason=EndReason.BUDGET, due=due, **facts) for due in (None, NOW + 30, NOW)
    )
    decision = decide(waiting(), processes={}, findings=(lifetime, unknown, later))
    assert (decision.status.phase, decision.requeue_at) == (Phase.QUEUED, NOW + 30)
    decision = decide(waiting(), processes={}, findings=(now,))
    assert (decision.status.phase, decision.status.reason) == (Phase.STOPPED, EndReason.BUDGET)
    assert (
        decision.status.message
        == "The cluster waited for room, and meanwhile the budget of users/ann is used up. Ask for more."
    )


def test_it_ends_if_its_user_stops_it() -> None:
    assert decide(waiting({"stop": True}), processes={}).status.reason is EndReason.USER


def test_it_starts_once_it_is_admitted_and_its_lifetime_begins() -> None:
    cluster = waiting({"lifetime": 100.0}, admitted=NOW - 1, timeout=1.0)
    decision = decide(cluster, processes={})
    assert decision.status.phase is Phase.STARTING
    assert decision.actions == (StartProcesses(("scheduler",)),)
    assert decide(cluster, processes={}, now=NOW + 98).status.reason is None
    assert decide(cluster, processes={}, now=NOW + 99).status.reason is EndReason.LIFETIME


def growing(granted: int = 6, report: dict[str, Any] | None = None, **facts: Any) -> Cluster:
    cluster = waiting(admitted=NOW - 60, granted={"default": granted} if granted < 10 else {}, **facts)
    return replace(running_cluster(groups=[Group(size=10)], report=report), queued=cluster.queued)


@pytest.mark.parametrize(
    ("granted", "place", "workers", "text"),
    [
        (6, Place(0), "4 more workers wait", "They are the next."),
        (9, Place(1), "1 more worker waits", "1 cluster is before them."),
        (6, Place(2, 7.0), "4 more workers wait", f"2 clusters are before them. {RATE} 10 s."),
    ],
)
def test_it_is_told_what_its_workers_wait_for(granted: int, place: Place, workers: str, text: str) -> None:
    text = f"{workers} for room: users/ann may have 10 workers, of which 8 are used. {text}"
    decision = decide(growing(granted), place=place)
    assert (decision.status.phase, decision.status.message) == (Phase.RUNNING, text)
    assert [event.message for event in decision.events if event.type is EventType.QUEUED] == [text]
    assert len(decision.workers) == granted


def test_it_is_told_again_when_the_limit_or_the_place_is_another() -> None:
    cluster = growing()
    status = decide(cluster, place=Place(2)).status
    for seen, place, told in (
        (growing(5, used=9), 2, []),
        (growing(), 1, [EventType.QUEUED]),
        (growing(subject="groups/lab"), 2, [EventType.QUEUED]),
    ):
        decision = decide(replace(seen, status=status), place=Place(place))
        assert [event.type for event in decision.events if event.type is EventType.QUEUED] == told
        assert decision.status.message != status.message
    done = decide(replace(growing(10), status=status))
    assert done.status.message == ""


def test_it_is_told_that_workers_may_never_come() -> None:
    cluster = growing(9, never=True)
    text = (
        "1 more worker cannot start: users/ann may have 10 workers, which would not be enough. "
        "Scale the cluster down, or ask your administrator for more."
    )
    decision = decide(cluster, place=Place(0))
    assert decision.status.message == text
    again = decide(replace(cluster, status=decision.status), place=Place(0))
    assert EventType.QUEUED not in [event.type for event in again.events]


def test_that_the_scheduler_is_silent_is_said_first() -> None:
    cluster = growing(report={"connected": False})
    assert "wait for room" not in decide(cluster, place=Place(0)).status.message
