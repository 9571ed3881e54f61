"""Builders of the controller's values, with defaults for what a test does not care about."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.model import (
    Cluster,
    ClusterId,
    Condition,
    Event,
    Group,
    Phase,
    Report,
    Spec,
    Status,
    UserId,
    WorkerId,
    WorkerRecord,
    WorkerState,
)

ANN = UserId("ann")
CREATED_AT = 900.0
NOW = 1000.0
SCHEDULER_ADDRESS = "tls://127.0.0.1:1"
WORKER_ADDRESS = "tls://127.0.0.1:2"


def new_cluster_id() -> ClusterId:
    return ClusterId("c" + secrets.token_hex(10)[:19])


def new_cluster(
    name: str = "", *, owner: str = ANN, created: float = CREATED_AT, spec: Spec | None = None, **facts: Any
) -> Cluster:
    """A cluster that was just asked for; `facts` are those of its spec, such as ``alias``."""
    spec = replace(spec or Spec(), **facts)
    return Cluster(id=ClusterId(name) if name else new_cluster_id(), owner=UserId(owner), created=created, spec=spec)


def running_cluster(
    *workers: WorkerRecord,
    name: str = "c1",
    owner: str = ANN,
    groups: Sequence[Group] = (Group(),),
    spec: Mapping[str, Any] | None = None,
    report: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Cluster:
    """A cluster whose agent is connected and whose workers of state RUNNING have joined.

    `spec`, `report` and `status` replace attributes of these parts, `facts` those of the record, such as
    ``generation``.
    """
    joined = {record.id: record.address for record in workers if record.state is WorkerState.RUNNING}
    running = Status(
        phase=Phase.RUNNING,
        observed_generation=1,
        workers_made=len(workers),
        scheduler_created=CREATED_AT,
        started=CREATED_AT + 2,
        conditions=tuple(condition(kind) for kind in (ConditionType.REACHABLE, ConditionType.ROUTED)),
    )
    cluster = Cluster(
        id=ClusterId(name),
        owner=UserId(owner),
        created=CREATED_AT,
        spec=replace(Spec(groups=tuple(groups)), **(spec or {})),
        workers={record.id: record for record in workers},
        report=connected_report(**{"joined": joined, **(report or {})}),
        status=replace(running, **(status or {})),
    )
    return replace(cluster, **facts)


def condition(kind: ConditionType, status: ConditionStatus = ConditionStatus.TRUE, **facts: Any) -> Condition:
    made = Condition(type=kind, status=status, changed=CREATED_AT + 2, observed_generation=1)
    return replace(made, **facts)


def connected_report(**facts: Any) -> Report:
    """The report of an agent that has had a session since shortly after the cluster was created."""
    report = Report(session=1, sequence=1, connected=True, changed=CREATED_AT + 1, scheduler_address=SCHEDULER_ADDRESS)
    return replace(report, **facts)


def worker(name: str = "default-1", state: WorkerState = WorkerState.PENDING, **facts: Any) -> WorkerRecord:
    """A worker of the group that its name begins with, created 10 s before `NOW`."""
    running = state is WorkerState.RUNNING
    record = WorkerRecord(
        id=WorkerId(name),
        group=name.split("-", maxsplit=1)[0],
        state=state,
        address=WORKER_ADDRESS if running else "",
        joined=running,
        created=NOW - 10,
        since=NOW - 10,
    )
    return replace(record, **facts)


def running_worker(name: str = "default-1", **facts: Any) -> WorkerRecord:
    return worker(name, WorkerState.RUNNING, **facts)


def process(
    name: str = SCHEDULER, state: ProcessState = ProcessState.RUNNING, cluster: str = "c1", **facts: Any
) -> ProcessStatus:
    """A process as the backend sees it."""
    role = Role.SCHEDULER if name == SCHEDULER else Role.WORKER
    return replace(ProcessStatus(key=ProcessKey(cluster, name), role=role, generation=1, state=state), **facts)


def exited_process(
    name: str = SCHEDULER, code: int | None = 1, cause: ExitCause = ExitCause.EXITED, **facts: Any
) -> ProcessStatus:
    return process(name, ProcessState.EXITED, exit_code=code, exit_cause=cause, **facts)


def event(message: str = "Created by ann.", **facts: Any) -> Event:
    return replace(Event(type=EventType.CREATED, message=message, time=CREATED_AT), **facts)
