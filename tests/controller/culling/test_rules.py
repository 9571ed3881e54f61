"""Which rules hold for a cluster, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.controller.builders import CREATED_AT, running_cluster

from headrace_controller.culling.observed import Observed, first
from headrace_controller.culling.rules import findings
from headrace_controller.model import AdaptRange, Cluster, EndReason, Group, Phase
from headrace_controller.plan.findings import CullAction, Finding
from headrace_controller.policy.sections import Culling, CullRule, IdleRule, MetricRule
from headrace_controller.signals.measured import Absence, Measured, NotMeasured

IDLE = Culling(idle=IdleRule(after=600, warn=60))
NOBODY = Culling(idle=None, nobody_connected=CullRule(after=600, warn=60))
NONE = Culling(idle=None)
STARTED = 950.0
SAMPLE = Measured(time=2000, idle_since=1500, active=1500)


def cluster(**parts: Any) -> Cluster:
    report = {"idle_since": 1500.0, **parts.pop("report", {})}
    status = {"started": STARTED, **parts.pop("status", {})}
    return running_cluster(report=report, status=status, **parts)


def find(
    policy: Culling,
    observed: Observed,
    record: Cluster | None = None,
    metrics: Mapping[str, float | str] | None = None,
) -> tuple[Finding, ...]:
    return findings(record or cluster(), policy, observed, metrics or {}, 2000.0)


def observed(**facts: Any) -> Observed:
    values: dict[str, Any] = {"sample": SAMPLE, "since": 1000.0, "empty_since": 1000.0, "abandoned_since": 1000.0}
    return Observed(**values | facts)


def test_an_idle_cluster_is_due_after_the_time_of_the_rule() -> None:
    [finding] = find(IDLE, observed())
    assert (finding.rule, finding.reason, finding.action) == ("idle", EndReason.IDLE, CullAction.STOP)
    assert (finding.due, finding.warn, finding.sampled) == (2100, 60, 2000)
    assert finding.why == "it has been idle for 8 min 20 s"
    assert finding.advice == "Keep it with cluster.keep(hours=2), or `headrace clusters keep c1 --hours 2`."
    assert finding.signal == "idle since 00:25:00 UTC, 0 results held"
    assert finding.held_back_by == "work, results on its workers, or keeping it"


@pytest.mark.parametrize(
    ("keep", "advice"),
    [
        (3600, "Keep it with cluster.keep(hours=1), or `headrace clusters keep c1 --hours 1`."),
        (100, "Keep it with cluster.keep(hours=0.02), or `headrace clusters keep c1 --hours 0.02`."),
        (30, "Save your results, then create a new one."),
    ],
)
def test_nobody_is_advised_to_keep_it_for_longer_than_is_allowed(keep: int, advice: str) -> None:
    [finding] = find(IDLE.model_copy(update={"keep": keep}), observed())
    assert finding.advice == advice


@pytest.mark.parametrize(
    ("sample", "report"),
    [
        ({"idle_since": None}, {}),  # it works
        ({"held_tasks": 1}, {}),  # it holds data
        ({}, {"idle_since": None}),  # its agent reports work since the sample
    ],
)
def test_a_cluster_that_works_or_holds_data_is_not_idle(sample: dict[str, Any], report: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"time": 2000.0, "idle_since": 1500.0, "active": 1500.0, **sample}
    assert find(IDLE, observed(sample=Measured(**facts)), cluster(report=report)) == ()


@pytest.mark.parametrize(
    ("facts", "parts", "since"),
    [
        ({"since": 1600.0}, {}, 1600),  # time before the first sample, or before a gap, does not count
        ({"empty_since": 1700.0}, {}, 1700),  # its data was released
        ({"sample": Measured(time=2000, idle_since=1500, active=1800)}, {}, 1800),
        ({}, {"report": {"idle_since": 1850.0}}, 1850),  # it worked since the sample, its agent reports
        ({}, {"status": {"started": 1900.0}}, 1900),
        ({}, {"spec": {"touched": 1950.0}}, 1950),  # its user scaled it
    ],
)
def test_idleness_counts_from_the_last_of_all_that_speaks_against_it(
    facts: dict[str, Any], parts: dict[str, Any], since: float
) -> None:
    [finding] = find(IDLE, observed(**facts), cluster(**parts))
    assert finding.due == since + 600


def test_data_may_be_dropped_where_the_policy_says_so() -> None:
    policy = Culling(idle=IdleRule(after=600, warn=60, drop_data=True))
    sample = Measured(time=2000, idle_since=1500, active=1500, held_tasks=9)
    [finding] = find(policy, observed(sample=sample, empty_since=None))
    assert finding.due == 2100


def test_nobody_connected_is_about_clusters_that_work_too() -> None:
    busy = Measured(time=2000, idle_since=None)
    [finding] = find(NOBODY, observed(sample=busy), cluster(report={"idle_since": None}))
    assert (finding.rule, finding.reason, finding.due) == ("nobody_connected", EndReason.NO_CLIENT, 1600)
    assert find(NOBODY, observed(abandoned_since=None)) == ()
    assert find(NOBODY, observed(), cluster(report={"clients": 1})) == ()  # one came since the sample


@pytest.mark.parametrize("policy", [IDLE, NOBODY])
@pytest.mark.parametrize("absence", Absence)
def test_without_a_fresh_sample_nothing_is_due(policy: Culling, absence: Absence) -> None:
    [finding] = find(policy, first(NotMeasured(absence=absence, last=SAMPLE)))
    assert (finding.due, finding.sampled) == (None, 2000)


def test_a_cluster_is_kept_but_for_its_lifetime() -> None:
    policy = Culling(idle=IdleRule(after=600, warn=60), lifetime=3000)
    found = find(policy, observed(), cluster(spec={"keep_until": 9999.0}))
    assert {finding.rule: (finding.due, finding.held_back_by) for finding in found} == {
        "idle": (9999, "it is kept until 02:46:39 UTC on 1 Jan"),
        "lifetime": (CREATED_AT + 3000, ""),
    }


def test_scaling_to_zero_comes_first_and_the_stop_later() -> None:
    policy = Culling(idle=IdleRule(after=600, warn=60, action="scale_to_zero", then_stop=1800))
    with_workers = cluster(groups=[Group(size=2)])
    steps = [(finding.action, finding.due) for finding in find(policy, observed(), with_workers)]
    assert steps == [(CullAction.SCALE_TO_ZERO, 2100), (CullAction.STOP, 3900)]
    adaptive = cluster(groups=[Group(adapt=AdaptRange(minimum=1))])
    assert len(find(policy, observed(), adaptive)) == 2
    assert [finding.action for finding in find(policy, observed())] == [CullAction.STOP]  # it has no workers


@pytest.mark.parametrize(
    ("own", "most", "due"), [(None, None, None), (100.0, None, 100), (None, 50.0, 50), (100.0, 50.0, 50)]
)
def test_the_shorter_lifetime_counts(own: float | None, most: float | None, due: float | None) -> None:
    found = find(Culling(idle=None, lifetime=most), observed(), cluster(spec={"lifetime": own}))
    assert [finding.due for finding in found] == ([] if due is None else [CREATED_AT + due])
    assert all(finding.warn == (due or 0) / 10 for finding in found)


def test_a_rule_of_the_administrators_needs_a_fresh_sample_and_an_answer() -> None:
    rule = MetricRule(name="waste", query="waste > 0.5", after=600, warn=60)
    policy = Culling(idle=None, rules=[rule])
    assert find(policy, observed()) == ()
    [holds] = find(policy, observed(), metrics={"waste": 1800.0})
    assert (holds.rule, holds.due, holds.signal) == ("rules/waste", 2400, "waste > 0.5")
    [failed] = find(policy, observed(), metrics={"waste": "parse error"})
    [stale] = find(policy, first(NotMeasured(absence=Absence.STALE)), metrics={"waste": 1800.0})
    assert failed.due is stale.due is None
    assert failed.why == "its query failed: parse error"


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.STARTING])
def test_before_it_runs_only_its_lifetime_counts(phase: Phase) -> None:
    policy = Culling(idle=IdleRule(after=600, warn=60), nobody_connected=CullRule(after=600), lifetime=3000)
    found = find(policy, observed(), cluster(status={"phase": phase}, groups=[Group(size=1)]))
    assert [finding.rule for finding in found] == ["lifetime"]
