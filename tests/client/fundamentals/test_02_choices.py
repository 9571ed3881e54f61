"""What a cluster is made of: options and groups of workers."""

from __future__ import annotations

import pytest

from headrace import Gateway, errors


def test_options_are_arguments(gateway: Gateway) -> None:
    with gateway.new_cluster(worker_memory="1 GiB") as cluster:
        assert "worker_memory" in cluster.report().options


def test_options_are_an_object_to_fill_in(gateway: Gateway) -> None:
    options = gateway.cluster_options()
    options.worker_memory = "1 GiB"
    with gateway.new_cluster(options) as cluster:
        assert cluster.report().status.name == "RUNNING"


def test_a_typo_is_an_error_at_once(gateway: Gateway) -> None:
    options = gateway.cluster_options()
    with pytest.raises(AttributeError, match="did you mean 'worker_memory'"):
        options.worker_memry = "1 GiB"
    with pytest.raises(ValueError, match="worker_memory"):
        options.worker_memory = "a lot"


def test_workers_come_in_groups_of_different_shapes(gateway: Gateway) -> None:
    with gateway.new_cluster(worker_groups={"small": 1, "large": {"size": 0, "worker_cores": 2}}) as cluster:
        cluster.scale(1, group="large")
        cluster.wait_for_workers(2)
        assert {group.name: group.size for group in cluster.report().worker_groups} == {"small": 1, "large": 1}


def test_a_name_of_ones_own_finds_the_cluster_again(gateway: Gateway) -> None:
    with gateway.new_cluster(name="analysis") as first, gateway.new_cluster(name="analysis") as second:
        assert first.name == second.name


def test_counts_that_make_no_sense_change_nothing(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        for count in (-1, 10**9):
            with pytest.raises(errors.InvalidRequest):
                cluster.scale(count)
        assert cluster.workers() == []
