"""How long a user may put culling off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import CREATED_AT, NOW, running_cluster

from headrace.errors import KeepRefused
from headrace_controller.culling.keeping import Keep
from headrace_controller.model import Cluster
from headrace_controller.policy.sections import Culling

POLICY = Culling(keep=3600, keep_total=7200)


def keep(cluster: Cluster, seconds: float, *, now: float = NOW, policy: Culling = POLICY, manages: bool = True) -> Any:
    return Keep(seconds=seconds, now=now, policy=policy, extends_lifetime=manages).apply(cluster).spec


def test_a_cluster_is_kept_from_now_and_never_for_less_than_before() -> None:
    kept = keep(running_cluster(), 3600)
    assert (kept.keep_until, kept.kept) == (NOW + 3600, 3600)
    again = replace(running_cluster(), spec=kept)
    assert keep(again, 60, now=NOW + 10) == kept


def test_the_times_of_all_calls_are_added_up() -> None:
    cluster, now = running_cluster(), NOW
    for _ in range(2):
        cluster = replace(cluster, spec=keep(cluster, 3600, now=now))
        now += 3600
    assert cluster.spec.kept == 7200
    with pytest.raises(KeepRefused, match="at most 2 h in all") as caught:
        keep(cluster, 60, now=now)
    assert caught.value.details == {"seconds": "0"}


def test_a_call_that_is_repeated_adds_nothing_but_the_time_between() -> None:
    cluster = replace(running_cluster(), spec=keep(running_cluster(), 3600))
    assert keep(cluster, 3600, now=NOW + 5).kept == 3605


@pytest.mark.parametrize(
    ("policy", "why"),
    [(POLICY, "at most 1 h at once"), (Culling(lifetime=1000), "a lifetime of at most 16 min 40 s")],
)
def test_more_than_the_policy_allows_is_refused_with_what_it_allows(policy: Culling, why: str) -> None:
    with pytest.raises(KeepRefused, match=why) as caught:
        keep(running_cluster(), 5000, policy=policy)
    allowed = float(caught.value.details["seconds"])
    assert keep(running_cluster(), allowed, policy=policy).keep_until == NOW + allowed


def test_a_lifetime_of_its_own_is_extended_by_those_who_manage_the_cluster() -> None:
    cluster = running_cluster(spec={"lifetime": 200.0})
    assert keep(cluster, 3600).lifetime == NOW + 3600 - CREATED_AT
    assert keep(cluster, 3600, manages=False).lifetime == 200
    assert keep(cluster, 10).lifetime == 200
