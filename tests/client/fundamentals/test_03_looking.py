"""What there is to see of a cluster, while it lives and afterwards."""

from __future__ import annotations

import pytest

from headrace import Gateway


def test_a_report_says_how_it_is(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        report = gateway.get_cluster(cluster.name)
        assert report.status.name == "RUNNING"
        assert report.stop_time is None


def test_events_say_what_happened(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert all(event.message for event in cluster.events())


def test_workers_have_names_groups_and_states(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        cluster.scale(1)
        cluster.wait_for_workers(1)
        # headrace hears of a worker a moment after the scheduler does.
        while (worker := cluster.workers()[0]).state == "pending":
            continue
        assert (worker.group, worker.state) == ("default", "running")


def test_logs_are_there_also_after_the_end(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert "scheduler" in cluster.logs()
    assert "scheduler" in gateway.logs(cluster.name, tail=10)


def test_the_dashboard_has_a_link_that_opens_it(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert "link=" in cluster.dashboard_link


def test_who_am_i(gateway: Gateway) -> None:
    assert gateway.whoami().name


def test_what_is_not_there_is_told(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="nosuch"):
        gateway.connect("nosuch")
