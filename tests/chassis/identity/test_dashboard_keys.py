"""Keys that schedulers' HTTP servers demand."""

from __future__ import annotations

from headrace_chassis.identity.dashboard_keys import DashboardKeys

OLD, NEW = bytes(32), bytes(range(32))


def test_each_cluster_and_deployment_has_its_own() -> None:
    keys = {DashboardKeys([key], name).of(cluster) for key in (OLD, NEW) for name in "ab" for cluster in ("c1", "c2")}
    assert len(keys) == 8
    assert all(len(key) == 64 for key in keys)


def test_after_a_new_deployment_key_both_sides_still_have_one_in_common() -> None:
    before, after = DashboardKeys([OLD], "a").of("c1"), DashboardKeys([NEW, OLD], "a").of("c1")
    assert before in after.split(",")
