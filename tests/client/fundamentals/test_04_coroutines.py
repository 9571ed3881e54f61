"""The same in coroutines: every method returns an awaitable."""

from __future__ import annotations

from headrace import Gateway


async def test_a_cluster_computes(here: None) -> None:
    async with Gateway(asynchronous=True) as gateway, gateway.new_cluster() as cluster:
        await cluster.scale(1)
        async with cluster.get_client() as client:
            assert await client.submit(sum, [1, 2]) == 3


async def test_methods_are_awaited(here: None) -> None:
    async with Gateway(asynchronous=True) as gateway:
        name = await gateway.submit()
        assert name in [report.name for report in await gateway.list_clusters()]
        await gateway.stop_cluster(name)
