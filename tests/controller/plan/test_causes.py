"""A plan is made again for whatever it reads of a record, and for nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from tests.controller.builders import running_cluster, running_worker
from tests.controller.plan.deciding import decide

from headrace_controller.model import Cluster, Departure, EndReason, Group, Report, Spec, Status, WorkerId
from headrace_controller.plan import calls_for_plan

ONE = WorkerId("default-1")
CLUSTER = running_cluster(running_worker(ONE), groups=(Group(size=1),), report={"sequence": 5})
AWAY = replace(CLUSTER, report=replace(CLUSTER.report, connected=False))


def reported(cluster: Cluster = CLUSTER, **facts: Any) -> Cluster:
    return replace(cluster, report=replace(cluster.report, **facts), revision=cluster.revision + 1)


@pytest.mark.parametrize(
    "facts",
    [
        {"sequence": 6},
        {"session": 2, "sequence": 1, "holder": "b/2", "changed": 990.0},
        {"versions": {"dask": "2026.8.0"}, "dashboard_address": "127.0.0.1:3"},
        {"clients": 3, "idle_since": 990.0},
        {"joined": dict(CLUSTER.report.joined), "retired": frozenset(), "departures": {}},
    ],
)
def test_what_no_rule_reads_calls_for_no_plan(facts: dict[str, Any]) -> None:
    changed = reported(**facts)
    assert not calls_for_plan(CLUSTER, changed)
    assert decide(CLUSTER) == decide(changed)


@pytest.mark.parametrize(
    "changed",
    [
        replace(CLUSTER, generation=2),
        replace(CLUSTER, spec=Spec(stop=True)),
        replace(CLUSTER, targets={"default": 2}),
        replace(CLUSTER, status=Status()),
        replace(CLUSTER, workers={}),
        AWAY,
        reported(session=0),
        reported(scheduler_address="tls://127.0.0.1:9"),
        reported(joined={}),
        reported(joined={ONE: "tls://127.0.0.1:9"}),
        reported(retired=frozenset({ONE})),
        reported(departures={ONE: Departure(tasks_lost=1)}),
        reported(closing=EndReason.IDLE),
        reported(silent_since=990.0),
        reported(route_version="1-0"),
    ],
)
def test_what_a_rule_reads_calls_for_a_plan(changed: Cluster) -> None:
    assert calls_for_plan(CLUSTER, changed)


OTHER: dict[str, Any] = {
    "session": 0,
    "sequence": 6,
    "connected": False,
    "changed": 990.0,
    "holder": "b/2",
    "scheduler_address": "tls://127.0.0.1:9",
    "dashboard_address": "127.0.0.1:3",
    "versions": {"dask": "2026.8.0"},
    "joined": {},
    "retired": frozenset({ONE}),
    "departures": {ONE: Departure(tasks_lost=1)},
    "closing": EndReason.IDLE,
    "silent_since": 990.0,
    "clients": 3,
    "idle_since": 990.0,
    "route_version": "1-0",
}


@pytest.mark.parametrize("fact", [field.name for field in fields(Report)])
def test_a_fact_of_a_report_that_changes_the_plan_calls_for_one(fact: str) -> None:
    before = replace(CLUSTER, status=decide(CLUSTER).status)
    changed = reported(before, **{fact: OTHER[fact]})
    assert calls_for_plan(before, changed) or decide(before) == decide(changed)


def test_since_when_an_agent_is_away_calls_for_a_plan() -> None:
    assert calls_for_plan(AWAY, reported(AWAY, changed=990.0))
