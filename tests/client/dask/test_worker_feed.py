"""What an object of a cluster knows about its workers, however many objects there are."""

from __future__ import annotations

from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import Gateway, GatewayCluster


def _count(cluster: GatewayCluster) -> int:
    return len(cluster.scheduler_info["workers"])


async def test_each_object_of_a_cluster_follows_its_workers(gateway: Gateway, eventually: Eventually) -> None:
    with gateway.new_cluster(name="shared") as first, gateway.new_cluster(name="shared") as second:
        first.scale(2)
        first.wait_for_workers(2)
        await eventually(lambda: _count(second) == 2)
        third = gateway.connect("shared")
        first.scale(1)
        await eventually(lambda: [_count(cluster) for cluster in (first, second, third)] == [1, 1, 1])
        third.close()
        first.scale(3)
        await eventually(lambda: [_count(cluster) for cluster in (first, second)] == [3, 3])


async def test_it_follows_again_after_the_connection_broke(
    fake: FakeHeadrace, gateway: Gateway, eventually: Eventually
) -> None:
    with gateway.new_cluster() as cluster:
        cluster.scale(1)
        cluster.wait_for_workers(1)
        fake.proxy.cut()
        cluster.scale(2)
        await eventually(lambda: _count(cluster) == 2)
