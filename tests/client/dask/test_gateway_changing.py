"""How a Gateway changes clusters that exist."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import (
    Gateway,
    GatewayWarning,
    Right,
    Share,
    errors,
)
from headrace.v1 import cluster_service_pb2 as pb


def test_stop_all(gateway: Gateway, bob: Gateway) -> None:
    names = {gateway.submit(), gateway.submit()}
    kept = bob.submit()
    assert set(gateway.stop_all()) == names
    assert gateway.list_clusters() == []
    assert [report.name for report in bob.list_clusters()] == [kept]


def test_clusters_that_cannot_be_stopped_are_named(fake: FakeHeadrace, gateway: Gateway) -> None:
    gone = gateway.submit()

    def answer(request: Any, context: Any) -> pb.BatchStopClustersResponse:
        failure = pb.BatchStopFailure(name=f"clusters/{gone}", message="the store is away")
        return pb.BatchStopClustersResponse(stopped=["clusters/other"], failures=[failure])

    fake.stop_server()
    fake.BatchStopClusters = answer
    fake.restart_server()
    with pytest.raises(errors.StopFailed, match=f"1 of 2 clusters could not be stopped: {gone}: the store") as raised:
        gateway.stop_all()
    assert (raised.value.stopped, raised.value.failures) == (("other",), {gone: "the store is away"})


def test_an_ended_cluster_can_be_deleted(gateway: Gateway) -> None:
    name = gateway.submit()
    with pytest.raises(errors.ClusterNotEnded, match="has not ended"):
        gateway.delete_cluster(name)
    gateway.stop_cluster(name)
    gateway.delete_cluster(name)
    with pytest.raises(errors.ClusterNotFound):
        gateway.get_cluster(name)


def test_scale_and_adapt(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit(worker_groups=[{"name": "default"}, {"name": "big", "options": {"worker_cores": 8}}])
    default, big = fake.clusters[name].record.spec.worker_groups
    assert big.options["worker_cores"].int_value == 8
    gateway.scale_cluster(name, 2)
    gateway.adapt_cluster(name, minimum=1, maximum=4, group="big")
    assert (default.size, big.adapt.minimum, big.adapt.maximum) == (2, 1, 4)
    gateway.adapt_cluster(name, group="big")
    assert not big.adapt.HasField("maximum")
    assert gateway.get_cluster(name).worker_groups[1].adapt == (0, None)
    gateway.adapt_cluster(name, active=False, group="big")
    assert not big.HasField("adapt")


def test_tags_lifetime_and_shares_can_be_changed(gateway: Gateway) -> None:
    share = Share("users/bob", frozenset({Right.CLUSTER_CONNECT, Right.CLUSTER_SCALE}), 2e9)
    name = gateway.submit(tags={"a": "b"}, lifetime="8h", shares=[share])
    report = gateway.get_cluster(name)
    assert (report.tags, report.lifetime, report.shares) == ({"a": "b"}, timedelta(hours=8), (share,))
    gateway.update_cluster(name, tags={"c": "d"})
    report = gateway.get_cluster(name)
    assert (report.tags, report.lifetime, report.shares) == ({"c": "d"}, timedelta(hours=8), (share,))
    gateway.update_cluster(name, lifetime=math.inf, shares=[])
    report = gateway.get_cluster(name)
    assert (report.tags, report.lifetime, report.shares) == ({"c": "d"}, None, ())
    gateway.update_cluster(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lifetime": "soon"}, "lifetime: "),
        ({"lifetime": 0}, "lifetime: must be more than 0 s"),
        ({"lifetime": timedelta(-1)}, "lifetime: must be more than 0 s"),
        ({"shares": [Share("users/bob", frozenset({Right.CLUSTER_MANAGE}))]}, "shares: .* can be shared"),
        ({"shares": [Share("users/bob", frozenset())]}, "shares: .* can be shared"),
    ],
)
def test_changes_that_make_no_sense_are_refused_at_once(
    fake: FakeHeadrace, gateway: Gateway, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=message):
        gateway.update_cluster("c", **change)
    assert fake.calls == []


def test_worker_groups_are_added_and_removed(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit()
    fake.fail("UpdateCluster", errors.StaleEtag("somebody else was faster"))
    gateway.add_worker_group(name, "big", 1, adapt=(1, None), worker_cores=8)
    _, big = gateway.get_cluster(name).worker_groups
    assert (big.name, big.size, big.adapt, big.options) == ("big", 1, (1, None), {"worker_cores": 8})
    with pytest.raises(errors.InvalidRequest, match="already has a worker group 'big'"):
        gateway.add_worker_group(name, "big")
    gateway.remove_worker_group(name, "big")
    assert [group.name for group in gateway.get_cluster(name).worker_groups] == ["default"]
    with pytest.raises(errors.GroupNotFound, match="no worker group 'big'"):
        gateway.remove_worker_group(name, "big")


@pytest.mark.parametrize("count", [-1, 10**9, 10**30, 1.5, "2", True, None])
def test_counts_that_make_no_sense_are_refused_at_once(fake: FakeHeadrace, gateway: Gateway, count: Any) -> None:
    for call in (
        lambda: gateway.scale_cluster("c", count),
        lambda: gateway.adapt_cluster("c", minimum=count if count is not None else -1),
        lambda: gateway.submit(worker_groups={"default": count}),
    ):
        with pytest.raises(errors.InvalidRequest, match=r"n: |minimum: |worker_groups"):
            call()
    assert fake.calls == []


def test_more_than_allowed_is_clipped_with_a_warning(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit()
    with pytest.warns(GatewayWarning, match=f"cluster {name} gets 8 instead of 9 workers in group 'default'"):
        gateway.scale_cluster(name, 9)
    with pytest.warns(GatewayWarning, match="gets 0 to 8 workers instead of 0 to 500 workers"):
        gateway.adapt_cluster(name, maximum=500)
    with pytest.warns(GatewayWarning, match="gets 8 to 8 workers instead of 200 to 300 workers"):
        gateway.adapt_cluster(name, minimum=200, maximum=300)
    gateway.adapt_cluster(name)
    gateway.scale_cluster(name, 0)


def test_more_than_allowed_is_refused_where_administrators_want_that(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.rejects = True
    name = gateway.submit()
    with pytest.raises(errors.QuotaExceeded, match="users/ann may have 8 workers"):
        gateway.scale_cluster(name, 9)
    with pytest.raises(errors.InvalidRequest, match="maximum: must be at least minimum 3"):
        gateway.adapt_cluster(name, minimum=3, maximum=2)
    with pytest.raises(errors.GroupNotFound, match="'none'"):
        gateway.scale_cluster(name, 1, group="none")


def test_what_numpy_calls_a_number_is_one(fake: FakeHeadrace, gateway: Gateway) -> None:
    numpy = pytest.importorskip("numpy")
    name = gateway.submit(worker_cores=numpy.int64(3), spot=numpy.float32(0.5))
    gateway.scale_cluster(name, numpy.int64(2))
    assert gateway.get_cluster(name).options == {"worker_cores": 3, "spot": 0.5}
