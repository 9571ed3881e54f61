"""Rules in PromQL: since when each holds, and nothing after an answer that failed, was slow or came too late."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan

import pytest
from tests.controller.signals.fake_signals import FakeSignals

from headrace_controller.culling.metric_rules import MetricRules, check_rules
from headrace_controller.model import ClusterId
from headrace_controller.policy.file import PolicyFile, UnfitPolicy
from headrace_controller.policy.sections import Culling, MetricRule
from headrace_controller.signals.settings import SignalSettings

C1, C2 = ClusterId("c1"), ClusterId("c2")
RULE = MetricRule(name="waste", query="waste", after=600)


class BrokenSignals(FakeSignals):
    async def query(self, promql: str) -> Mapping[ClusterId, float]:
        raise ArithmeticError(promql)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_rule_holds_from_the_first_answer_with_a_value(clock: Clock) -> None:
    signals = FakeSignals()
    rules, changed = MetricRules(signals, lambda: [RULE], interval=15, clock=clock), list[ClusterId]()
    rules.on_change(changed.append)
    for answer in ({C1: 1.0, C2: 0.0}, {C1: 0.5, C2: -1.0}, {C2: 1.0}):
        clock.now += 15
        signals.answers["waste"] = answer
        await rules.refresh()
    assert (rules.of(C1), rules.of(C2)) == ({}, {"waste": 1030})
    assert changed == [C1, C2, C1]


async def test_a_wrong_query_is_not_known_and_its_states_begin_again(clock: Clock) -> None:
    signals = FakeSignals()
    rules = MetricRules(signals, lambda: [RULE], interval=15, clock=clock)
    signals.answers["waste"] = {C1: 1.0}
    await rules.refresh()
    del signals.answers["waste"]
    await rules.refresh()
    assert rules.of(C1) == {"waste": "the fake has no answer to 'waste'"}
    clock.now += 15
    signals.answers["waste"] = {C1: 1.0}
    await rules.refresh()
    assert rules.of(C1) == {"waste": 1015}


async def test_of_a_cluster_with_several_series_nothing_is_known(clock: Clock) -> None:
    signals = FakeSignals()
    signals.answers["waste"] = {C1: nan, C2: 1.0}
    rules = MetricRules(signals, lambda: [RULE], interval=15, clock=clock)
    await rules.refresh()
    assert rules.of(C1) == {"waste": "it has several series of this cluster: write `... by (cluster)`"}
    assert rules.of(C2) == {"waste": 1000}
    clock.now += 15
    signals.answers["waste"] = {C1: 1.0}
    await rules.refresh()
    assert rules.of(C1) == {"waste": 1015}


async def test_a_fault_of_ours_is_not_taken_for_an_answer(clock: Clock) -> None:
    rules = MetricRules(BrokenSignals(), lambda: [RULE], interval=15, clock=clock)
    await rules.refresh()
    assert rules.of(C1) == {"waste": "see the controller's log"}


async def test_rounds_that_are_far_apart_continue_each_other(clock: Clock) -> None:
    signals = FakeSignals()
    rules = MetricRules(signals, lambda: [RULE], interval=300, clock=clock)
    signals.answers["waste"] = {C1: 1.0}
    await rules.refresh()
    clock.now += 300
    await rules.refresh()
    assert rules.of(C1) == {"waste": 1000}


async def test_what_held_before_a_pause_or_with_another_query_does_not_count(clock: Clock) -> None:
    signals, current = FakeSignals(), [RULE]
    signals.answers.update({"waste": {C1: 1.0}, "other": {C1: 1.0}})
    rules = MetricRules(signals, lambda: current, interval=15, clock=clock)
    await rules.refresh()
    clock.now += 3600  # this process stood still
    await rules.refresh()
    assert rules.of(C1) == {"waste": 4600}
    clock.now += 15
    current[:] = [RULE.model_copy(update={"query": "other"})]
    await rules.refresh()
    assert rules.of(C1) == {"waste": 4615}


def test_rules_are_refused_where_nobody_can_answer() -> None:
    policy = PolicyFile(culling=Culling(rules=[RULE]))
    with pytest.raises(UnfitPolicy, match="rules of your own need a Prometheus"):
        check_rules(policy, SignalSettings())
    check_rules(policy, SignalSettings(prometheus_url="http://prometheus:9090"))
    check_rules(PolicyFile(), SignalSettings())
