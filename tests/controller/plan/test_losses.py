"""Lost workers: one event for one loss, whichever side notices it first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import (
    NOW,
    WORKER_ADDRESS,
    exited_process,
    process,
    running_cluster,
    running_worker,
    worker,
)
from tests.controller.plan.deciding import decide

from headrace.v1.enums import EventType, ExitCause
from headrace_controller.backends.process import ProcessStatus
from headrace_controller.model import Departure, Exit, Group, WorkerId, WorkerState
from headrace_controller.plan import Decision, Policy

POLICY = Policy(loss_wait=1.0, worker_start_timeout=60, ended_workers_kept=1)
ONE, TWO = WorkerId("default-1"), WorkerId("default-2")
RUNS = process("default-1")
KILLED = exited_process("default-1", -9)
ABOUT_ENDS = (EventType.WORKERS_LOST, EventType.WORKERS_CLOSED, EventType.WORKERS_FAILED)


class Replay:
    """Two workers, and plans for what is seen of them; `told` are the events about workers that ended."""

    def __init__(self) -> None:
        workers = running_worker(ONE), running_worker(TWO)
        self.cluster = running_cluster(*workers, groups=[Group(size=2)])
        self.told: list[tuple[EventType, str]] = []

    def see(self, *workers: ProcessStatus, now: float = NOW, **report: Any) -> Decision:
        self.cluster = replace(self.cluster, report=replace(self.cluster.report, **report))
        others = [process(w.id) for w in self.cluster.workers.values() if w.id not in {p.key.process for p in workers}]
        decision = decide(self.cluster, process(), *workers, *others, now=now, policy=POLICY)
        self.cluster = replace(self.cluster, status=decision.status, workers=decision.workers)
        self.told += [(event.type, event.message) for event in decision.events if event.type in ABOUT_ENDS]
        return decision

    def left(self, *gone: WorkerId, **costs: int) -> dict[str, Any]:
        """The report of an agent that these workers have left."""
        joined = {name: address for name, address in self.cluster.report.joined.items() if name not in gone}
        return {"joined": joined, "departures": dict.fromkeys(gone, Departure(**costs))}


BY_SIGNAL = "was killed by signal 9 (SIGKILL): perhaps by the kernel, because memory ran out."
KILLED_SENTENCE = f"Worker default-1 was lost. Its process {BY_SIGNAL}"


def test_a_loss_that_the_scheduler_notices_first_waits_for_the_exit() -> None:
    replay = Replay()
    first = replay.see(RUNS, **replay.left(ONE, tasks_lost=3, results_lost=1, scattered_lost=2))
    assert (first.requeue_at, replay.told) == (NOW + 1, [])
    assert first.status.losses == {ONE: NOW}
    replay.see(KILLED, now=NOW + 0.1)
    cost = "3 tasks to run again, 1 result to compute again, 2 pieces of scattered data, which cannot be restored"
    assert replay.told == [(EventType.WORKERS_LOST, f"{KILLED_SENTENCE} This costs {cost}.")]
    assert replay.cluster.status.losses == {}
    replay.see(KILLED, now=NOW + 5, departures={})
    assert len(replay.told) == 1


def test_a_loss_that_the_backend_notices_first_waits_for_what_the_scheduler_counts() -> None:
    replay = Replay()
    assert replay.see(KILLED).requeue_at == NOW + 1
    assert replay.cluster.workers[ONE].state is WorkerState.FAILED  # and replaced at once
    assert len(replay.cluster.workers) == 3
    assert replay.told == []
    replay.see(KILLED, now=NOW + 0.1, **replay.left(ONE, tasks_lost=1))
    assert replay.told == [(EventType.WORKERS_LOST, f"{KILLED_SENTENCE} This costs 1 task to run again.")]


def test_a_loss_is_recorded_in_the_end_with_what_is_known() -> None:
    replay = Replay()
    replay.see(KILLED)
    replay.see(KILLED, now=NOW + 1)
    assert replay.told == [(EventType.WORKERS_LOST, KILLED_SENTENCE)]
    replay = Replay()
    replay.see(RUNS, **replay.left(ONE))
    replay.see(RUNS, now=NOW + 1)
    sentence = "Worker default-1 was lost. It left the scheduler and has not joined again yet."
    assert replay.told == [(EventType.WORKERS_LOST, sentence)]
    replay.see(exited_process("default-1", 1), now=NOW + 2)  # its nanny gave up
    told = (EventType.WORKERS_FAILED, "Worker default-1 failed to start. Its process ended with exit code 1.")
    assert replay.told[1:] == [told]
    assert replay.cluster.status.backoffs == {}


def test_nobody_counts_while_the_agent_is_away() -> None:
    replay = Replay()
    replay.see(KILLED, connected=False, changed=NOW)
    assert replay.told == [(EventType.WORKERS_LOST, KILLED_SENTENCE)]


def test_workers_that_are_lost_together_are_one_event() -> None:
    replay = Replay()
    killed = exited_process("default-2", -9)
    first = replay.left(ONE, tasks_lost=1)
    replay.see(KILLED, **first)
    replay.told.clear()

    replay = Replay()
    replay.see(KILLED, killed)
    replay.see(KILLED, killed, now=NOW + 0.1, **replay.left(ONE, tasks_lost=1))
    assert replay.told == []  # the other one has not been counted
    departures = {name: Departure(tasks_lost=2) for name in (ONE, TWO)}
    replay.see(KILLED, killed, now=NOW + 0.2, joined={}, departures=departures)
    sentence = f"2 workers were lost, such as default-1. Its process {BY_SIGNAL}"
    assert replay.told == [(EventType.WORKERS_LOST, f"{sentence} This costs 4 tasks to run again.")]


def test_a_loss_that_cannot_be_known_yet_does_not_hold_up_an_older_one() -> None:
    replay = Replay()
    replay.see(KILLED)
    replay.see(KILLED, exited_process("default-2", -9), now=NOW + 0.9)
    last = replay.see(KILLED, exited_process("default-2", -9), now=NOW + 1)
    assert [message for _, message in replay.told] == [KILLED_SENTENCE]
    assert last.requeue_at == NOW + 1.9
    assert replay.cluster.status.losses == {TWO: NOW + 0.9}


def test_a_worker_that_ends_by_itself_as_intended_is_closed_unless_work_was_lost() -> None:
    ended = exited_process("default-1", 0)
    replay = Replay()
    replay.see(RUNS, **replay.left(ONE))
    replay.see(ended, now=NOW + 0.1)
    sentence = "Worker default-1 has ended. Its process ended with exit code 0."
    assert replay.told == [(EventType.WORKERS_CLOSED, sentence)]
    replay = Replay()
    replay.see(ended)
    replay.see(ended, now=NOW + 0.1, **replay.left(ONE, results_lost=1))
    sentence = "Worker default-1 was lost. Its process ended with exit code 0. This costs 1 result to compute again."
    assert replay.told == [(EventType.WORKERS_LOST, sentence)]


EVICTED = replace(exited_process("default-1", 0), exit_cause=ExitCause.EVICTED, message="The node was low on memory.")


def test_one_that_left_in_order_before_anybody_said_why_is_told_with_the_reason_that_comes_later() -> None:
    replay = Replay()
    first = replay.see(RUNS, joined={TWO: WORKER_ADDRESS}, retired=frozenset({ONE}))
    assert (first.requeue_at, replay.told) == (NOW + 15, [])
    assert len(replay.cluster.workers) == 3  # it is replaced at once
    replay.see(RUNS, now=NOW + 2, retired=frozenset())  # the report forgets what the record has
    assert replay.told == []
    decision = replay.see(EVICTED, now=NOW + 3)
    sentence = "was evicted from its node: The node was low on memory. Its data has moved to other workers."
    assert replay.told == [(EventType.WORKERS_CLOSED, f"Worker default-1 has ended. Its process {sentence}")]
    assert [event.exit_cause for event in decision.events if event.type is EventType.WORKERS_CLOSED] == [
        ExitCause.EVICTED
    ]


def test_one_that_left_in_order_is_told_without_a_reason_if_none_comes() -> None:
    replay = Replay()
    replay.see(RUNS, joined={TWO: WORKER_ADDRESS}, retired=frozenset({ONE}))
    replay.see(RUNS, now=NOW + 15)
    sentence = "Worker default-1 has ended. Its data has moved to other workers."
    assert replay.told == [(EventType.WORKERS_CLOSED, sentence)]


def test_a_worker_that_its_nanny_restarts_was_lost_once() -> None:
    replay = Replay()
    departure = replay.left(ONE, tasks_lost=2)
    replay.see(RUNS, **departure)
    replay.see(RUNS, now=NOW + 0.5, joined={ONE: "tls://127.0.0.1:9", TWO: WORKER_ADDRESS})
    sentence = "Worker default-1 was lost. It has joined again. This costs 2 tasks to run again."
    assert replay.told == [(EventType.WORKERS_LOST, sentence)]
    assert replay.cluster.workers[ONE].state is WorkerState.RUNNING


ADVICE = "Raise worker_memory, or use smaller chunks."


def test_a_worker_that_needed_too_much_memory_was_lost_once_and_the_event_says_of_how_much() -> None:
    replay = Replay()
    replay.see(RUNS, **replay.left(ONE, tasks_lost=1))
    replay.see(RUNS, now=NOW + 0.1, **replay.left(ONE, tasks_lost=1, memory_limit_bytes=400 << 20, exit_code=-15))
    assert replay.told == []
    replay.see(RUNS, now=NOW + 0.5, joined={ONE: "tls://127.0.0.1:9", TWO: WORKER_ADDRESS})
    cost = "It has joined again. This costs 1 task to run again."
    sentence = f"Worker default-1 needed more than its 400 MiB of memory. {cost} {ADVICE}"
    assert replay.told == [(EventType.WORKERS_LOST, sentence)]


def test_workers_that_needed_too_much_memory_together_are_one_event_and_others_another() -> None:
    replay = Replay()
    departures = {name: Departure(memory_limit_bytes=limit << 30) for name, limit in ((ONE, 2), (TWO, 1))}
    joined_again = {ONE: "tls://127.0.0.1:9", TWO: "tls://127.0.0.1:10"}
    replay.see(RUNS, joined={}, departures=departures)
    replay.see(RUNS, now=NOW + 0.5, joined=joined_again)
    sentence = "2 workers needed more memory than they may use, such as default-1. Its limit is 2 GiB."
    assert replay.told == [(EventType.WORKERS_LOST, f"{sentence} It has joined again. {ADVICE}")]

    replay = Replay()
    del departures[TWO]
    replay.see(RUNS, joined={}, departures=departures | {TWO: Departure()})
    replay.see(RUNS, now=NOW + 0.5, joined=joined_again)
    assert [message.partition(".")[0] for _, message in replay.told] == [
        "Worker default-1 needed more than its 2 GiB of memory",
        "Worker default-2 was lost",
    ]


@pytest.mark.parametrize(
    ("code", "died"),
    [
        (-9, BY_SIGNAL),
        (-11, "was killed by signal 11 (SIGSEGV)."),
        (3, "ended with exit code 3."),
    ],
)
def test_how_a_process_died_whose_nanny_restarts_it_is_in_the_event(code: int, died: str) -> None:
    replay = Replay()
    replay.see(RUNS, **replay.left(ONE, exit_code=code))
    replay.see(RUNS, now=NOW + 0.5, joined={ONE: "tls://127.0.0.1:9", TWO: WORKER_ADDRESS})
    sentence = f"Worker default-1 was lost. Its worker process {died} It has joined again."
    assert replay.told == [(EventType.WORKERS_LOST, sentence)]


def test_a_worker_that_the_backend_saw_die_of_its_memory_was_lost_with_advice() -> None:
    replay = Replay()
    dead = exited_process("default-1", -9, ExitCause.OUT_OF_MEMORY)
    replay.see(dead)
    replay.see(dead, now=NOW + 0.1, **replay.left(ONE, exit_code=-9))
    sentence = f"Worker default-1 was lost. Its process exceeded its memory limit. {ADVICE}"
    assert replay.told == [(EventType.WORKERS_LOST, sentence)]


def test_a_worker_that_was_restarted_before_anybody_looked_was_lost_too() -> None:
    replay = Replay()
    joined = {ONE: "tls://127.0.0.1:9", TWO: WORKER_ADDRESS}
    replay.see(RUNS, joined=joined, departures={ONE: Departure(tasks_lost=2)})
    sentence = "Worker default-1 was lost. It has joined again. This costs 2 tasks to run again."
    assert replay.told == [(EventType.WORKERS_LOST, sentence)]
    replay.see(RUNS, now=NOW + 5)
    assert len(replay.told) == 1


def test_the_record_of_a_lost_worker_stays_until_its_loss_is_recorded() -> None:
    replay = Replay()
    replay.see(KILLED, exited_process("default-2", -9))
    replay.see(KILLED, exited_process("default-2", -9), now=NOW + 0.1)
    assert {ONE, TWO} <= replay.cluster.workers.keys()  # although only one ended worker is kept
    replay.see(KILLED, exited_process("default-2", -9), now=NOW + 1)
    assert "2 workers were lost" in replay.told[0][1]
    assert {ONE, TWO} & replay.cluster.workers.keys() == {TWO}


def test_a_loss_without_a_record_is_dropped() -> None:
    state = running_cluster(status={"losses": {ONE: NOW}})
    decision = decide(state)
    assert (decision.status.losses, decision.events) == ({}, ())


def test_a_lost_worker_that_is_not_wanted_any_more_is_closed() -> None:
    losing = running_cluster(
        worker("default-1", joined=True, exit=Exit(cause=ExitCause.EXITED, time=NOW)), status={"losses": {ONE: NOW}}
    )
    decision = decide(replace(losing, report=replace(losing.report, departures={ONE: Departure()})))
    sentence = "Worker default-1 has ended. Closed because fewer workers are wanted."
    assert [(event.type, event.message) for event in decision.events] == [(EventType.WORKERS_CLOSED, sentence)]
