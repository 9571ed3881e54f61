"""How a GatewayCluster changes its cluster."""

from __future__ import annotations

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway, errors


def test_scaling_and_adapting(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster(worker_groups={"default": 0, "big": {"size": 0, "worker_cores": 8}}) as cluster:
        default, big = fake.clusters[cluster.name].record.spec.worker_groups
        cluster.scale(3)
        cluster.adapt(minimum=1, maximum=4, group="big")
        assert (default.size, big.adapt.minimum, big.adapt.maximum) == (3, 1, 4)
        cluster.adapt(active=False, group="big")
        assert not big.HasField("adapt")
        cluster.adapt()
        assert default.HasField("adapt")
        assert not default.adapt.HasField("maximum")
        cluster.scale(0)
        assert not default.HasField("adapt")


def test_a_cluster_is_changed_while_it_runs(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        cluster.update(tags={"team": "x"}, lifetime="8h")
        cluster.add_worker_group("big", worker_cores=8)
        report = cluster.report()
        assert report.tags == {"team": "x"}
        assert [group.name for group in report.worker_groups] == ["default", "big"]
        cluster.remove_worker_group("big")
        assert [group.name for group in cluster.report().worker_groups] == ["default"]


@pytest.mark.parametrize("count", [-1, 10**9, 1.0, True])
def test_wrong_counts_change_nothing(fake: FakeHeadrace, gateway: Gateway, count: int) -> None:
    with gateway.new_cluster() as cluster:
        with pytest.raises(errors.InvalidRequest):
            cluster.scale(count)
        with pytest.raises(errors.InvalidRequest):
            cluster.adapt(minimum=count)
        assert [group.size for group in fake.clusters[cluster.name].record.spec.worker_groups] == [0]
