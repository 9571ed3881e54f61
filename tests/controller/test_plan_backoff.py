"""Starts that fail: each group pauses by itself, and a condition says what cannot be started."""

from __future__ import annotations

from dataclasses import replace

from headrace_controller.backends.base import SCHEDULER, ExitCause, ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.model import (
    Backoff,
    Cluster,
    ClusterId,
    Condition,
    EndReason,
    Group,
    Phase,
    Report,
    Severity,
    Spec,
    Status,
    UserId,
    WorkerId,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.plan import Decision, FetchLogTail, Policy, Seen, StartProcesses, Trouble, plan

POLICY = Policy(start_timeout=60, worker_start_timeout=20, worker_failure_limit=2)
NOW = 1000.0
ADDRESS = "tls://127.0.0.1:2"


def worker(name: str, state: WorkerState = WorkerState.PENDING) -> WorkerRecord:
    group, joined = name.split("-", maxsplit=1)[0], state is WorkerState.RUNNING
    return WorkerRecord(id=WorkerId(name), group=group, state=state, joined=joined, created=990.0, since=990.0)


def cluster(*workers: WorkerRecord, cpu: int = 1, gpu: int = 1, **status: object) -> Cluster:
    joined = {w.id: ADDRESS for w in workers if w.state is WorkerState.RUNNING}
    report = Report(session=1, connected=True, changed=901.0, scheduler_address="tls://127.0.0.1:1", joined=joined)
    running = Status(
        phase=Phase.RUNNING,
        started=902.0,
        observed_generation=1,
        workers={w.id: w for w in workers},
        workers_made=len(workers),
    )
    return Cluster(
        id=ClusterId("c1"),
        owner=UserId("ann"),
        created=900.0,
        spec=Spec(groups=(Group(name="gpu", size=gpu), Group(name="cpu", size=cpu))),
        report=report,
        status=replace(running, **status),
    )


def failed(group: str, failures: int = 1, retry_at: float = NOW + 30) -> dict[str, Backoff]:
    return {group: Backoff(failures=failures, retry_at=retry_at, message="Its process ended with exit code 1.")}


def process(name: str, state: ProcessState = ProcessState.RUNNING, message: str = "") -> ProcessStatus:
    role = Role.SCHEDULER if name == SCHEDULER else Role.WORKER
    code, cause = (127, ExitCause.START_FAILED) if state is ProcessState.EXITED else (None, ExitCause.NONE)
    key = ProcessKey("c1", name)
    return ProcessStatus(key=key, role=role, generation=1, state=state, exit_code=code, cause=cause, message=message)


def decide(
    cluster: Cluster, *processes: ProcessStatus, troubles: dict[str | None, Trouble] | None = None, now: float = NOW
) -> Decision:
    table = {status.key.process: status for status in (process(SCHEDULER), *processes)}
    if cluster.status.phase is Phase.STARTING:
        del table[SCHEDULER]
    seen = Seen(processes=table, routed=True, troubles=troubles or {})
    return plan(cluster, seen, now, POLICY, lambda group, n: WorkerId(f"{group}-{n}"))


def startable(decision: Decision) -> Condition | None:
    return next((condition for condition in decision.status.conditions if condition.type == "Startable"), None)


def test_a_group_that_fails_does_not_delay_the_others() -> None:
    decision = decide(cluster(backoffs=failed("gpu")))
    assert decision.actions == (StartProcesses(("cpu-1",)),)
    assert decide(replace(cluster(), status=decision.status), process("cpu-1")).look_again == NOW + 20  # to join
    later = decide(replace(cluster(), status=decision.status), process("cpu-1"), now=NOW + 30)
    assert StartProcesses(("gpu-2",)) in later.actions


def test_each_group_counts_its_own_failures() -> None:
    both = cluster(worker("gpu-1"), worker("cpu-2"), backoffs=failed("cpu", 3, 980.0))
    decision = decide(both, process("gpu-1", ProcessState.EXITED), process("cpu-2"))
    assert {group: backoff.failures for group, backoff in decision.status.backoffs.items()} == {"cpu": 3, "gpu": 1}
    assert decision.status.backoffs["gpu"].retry_at == NOW + POLICY.retry_first


def test_a_worker_that_joins_forgives_its_own_group_only() -> None:
    state = cluster(worker("cpu-1"), backoffs=failed("gpu") | failed("cpu"))
    joined = replace(state.report, joined={WorkerId("cpu-1"): ADDRESS})
    decision = decide(replace(state, report=joined), process("cpu-1"))
    assert decision.status.backoffs == failed("gpu")
    assert decision.actions == ()


def test_a_cluster_is_given_up_only_when_every_group_has_failed_too_often() -> None:
    exits = process("gpu-1", ProcessState.EXITED)
    one_waits = cluster(worker("gpu-1"), worker("cpu-2"), backoffs=failed("gpu", 5, 980.0))
    assert decide(one_waits, exits, process("cpu-2")).status.phase is Phase.RUNNING
    all_failed = cluster(worker("gpu-1"), backoffs=failed("gpu", 5, 980.0) | failed("cpu", 2))
    assert decide(all_failed, exits).actions == (FetchLogTail("gpu-1"),)
    unwanted = cluster(worker("gpu-1"), cpu=0, backoffs=failed("gpu", 1, 980.0))
    assert decide(unwanted, exits).actions == (FetchLogTail("gpu-1"),)
    nothing_wanted = cluster(worker("gpu-1"), cpu=0, gpu=0, backoffs=failed("gpu", 5, 980.0))
    assert decide(nothing_wanted, exits).status.phase is Phase.RUNNING


def test_what_the_backend_refuses_of_one_group_does_not_delay_the_others() -> None:
    state = cluster(worker("gpu-1"), worker("cpu-2"))
    troubles: dict[str | None, Trouble] = {"gpu": Trouble("no GPU is left", NOW + 5)}
    decision = decide(state, troubles=troubles)
    assert decision.actions == (StartProcesses(("cpu-2",)),)
    assert decision.look_again == NOW + 5
    again = decide(state, process("cpu-2"), troubles=troubles, now=NOW + 5)
    assert again.actions == (StartProcesses(("gpu-1",)),)


def test_the_scheduler_pauses_by_itself() -> None:
    new = cluster(phase=Phase.STARTING, started=None, scheduler_created=NOW)
    new = replace(new, report=Report())
    other: dict[str | None, Trouble] = {"gpu": Trouble("no GPU is left", NOW + 5)}
    assert decide(new, troubles=other).actions == (StartProcesses((SCHEDULER,)),)
    refused: dict[str | None, Trouble] = {None: Trouble("the disk is full", NOW + 5)}
    decision = decide(new, troubles=refused)
    assert (decision.actions, decision.look_again) == ((), NOW + 5)
    assert decision.status.message == "The scheduler's process cannot be started: the disk is full."
    assert decide(new, troubles=refused, now=NOW + 5).actions == (StartProcesses((SCHEDULER,)),)


def test_what_the_backend_refuses_is_a_condition_until_it_takes_the_start_over() -> None:
    state = cluster(worker("gpu-1"), worker("cpu-2", WorkerState.RUNNING))
    refused = decide(state, process("cpu-2"), troubles={"gpu": Trouble("no GPU is left", NOW + 5)})
    sentence = "Workers of group gpu cannot be started: no GPU is left."
    condition = Condition(type="Startable", holds=False, reason="BackendTrouble", message=sentence, changed=NOW)
    assert startable(refused) == condition
    told = [event for event in refused.events if event.type == "BackendTrouble"]
    assert [(event.message, event.severity) for event in told] == [(sentence, Severity.WARNING)]

    state = replace(state, status=refused.status)
    asked_again = decide(state, process("cpu-2"), now=NOW + 5)  # by another replica, which knows of no trouble
    assert asked_again.actions == (StartProcesses(("gpu-1",)),)
    assert startable(asked_again) == condition

    taken_over = startable(decide(state, process("cpu-2"), process("gpu-1"), now=NOW + 6))
    assert taken_over == Condition(type="Startable", holds=True, changed=NOW + 6)


def test_an_old_trouble_says_nothing_of_what_runs() -> None:
    state = cluster(worker("gpu-1", WorkerState.RUNNING), worker("cpu-2", WorkerState.RUNNING))
    old: dict[str | None, Trouble] = {None: Trouble("away", 0.0), "gpu": Trouble("away", 0.0)}
    condition = startable(decide(state, process("gpu-1"), process("cpu-2"), troubles=old))
    assert condition is not None
    assert condition.holds


def test_a_command_that_cannot_be_executed_is_a_condition_until_a_worker_joins() -> None:
    state = cluster(worker("gpu-1"), worker("cpu-2", WorkerState.RUNNING))
    decision = decide(state, process("gpu-1", ProcessState.EXITED, "there is no such file"), process("cpu-2"))
    sentence = (
        "Workers of group gpu fail to start: Its process could not be started (exit code 127): there is no such file."
    )
    condition = Condition(type="Startable", holds=False, reason="StartFailed", message=sentence, changed=NOW)
    assert startable(decision) == condition
    assert [event.type for event in decision.events if event.type == "BackendTrouble"] == []

    again = decide(replace(state, status=decision.status), process("cpu-2"), now=NOW + 1)
    assert again.actions == (StartProcesses(("gpu-3",)),)
    assert startable(again) == condition

    joined = replace(state.report, joined={**state.report.joined, WorkerId("gpu-3"): ADDRESS})
    state = replace(state, status=again.status, report=joined)
    runs = decide(state, process("cpu-2"), process("gpu-3"), now=NOW + 2)
    assert startable(runs) == Condition(type="Startable", holds=True, changed=NOW + 2)


def test_a_failure_of_workers_that_nobody_wants_any_more_is_no_condition() -> None:
    state = cluster(worker("cpu-1", WorkerState.RUNNING), gpu=0, backoffs=failed("gpu"))
    condition = startable(decide(state, process("cpu-1")))
    assert condition is not None
    assert condition.holds


def test_nothing_is_said_before_the_first_start_is_taken_over() -> None:
    new = replace(cluster(phase=Phase.STARTING, started=None, scheduler_created=NOW), report=Report())
    assert startable(decide(new)) is None


def test_a_cluster_that_failed_still_says_why() -> None:
    state = cluster(worker("gpu-1"), cpu=0, backoffs=failed("gpu", 1, 980.0))
    exits = process("gpu-1", ProcessState.EXITED, "no such file")
    table = {SCHEDULER: process(SCHEDULER), "gpu-1": exits}
    seen = Seen(processes=table, routed=True, log_tail={"gpu-1": ""})
    decision = plan(state, seen, NOW, POLICY, lambda group, n: WorkerId(f"{group}-{n}"))
    assert decision.status.reason is EndReason.WORKERS_FAILED
    assert "no such file" in decision.status.message
