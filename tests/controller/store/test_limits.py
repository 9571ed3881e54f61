"""Limits: never one too many, and the answer says which binds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from headrace.errors import QuotaExceeded
from headrace_chassis.redis.connection import connect
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, Demand, Event, Group, Limits, Phase, Spec, Status, UserId
from headrace_controller.store import DEPLOYMENT, Fence, Store

Record = Callable[..., Awaitable[tuple[Cluster, bool]]]
NewCluster = Callable[..., Cluster]
ANN, BOB = UserId("ann"), UserId("bob")
GIB = 2**30


def of_size(spec: Spec) -> Demand:
    workers = sum(group.wanted for group in spec.groups)
    return Demand(clusters=1, workers=workers, cores_milli=1500 * (1 + workers), memory_bytes=GIB * (1 + workers))


def scaled(size: int) -> Callable[[Spec], Spec]:
    return lambda spec: replace(spec, groups=(Group(size=size),))


async def test_a_hundred_at_once_get_exactly_the_limit(
    redis: Redis, redis_url: str, keys: Keys, store: Store, new_cluster: NewCluster
) -> None:
    async with connect(redis_url) as other_connection:
        replicas = [store, Store(other_connection, keys)]
        calls = [
            replicas[n % 2].create(
                new_cluster(),
                secrets=b"",
                demand=of_size(Spec()),
                limits={"users/ann": Limits(clusters=7)},
                event=Event(type="Created", message=""),
            )
            for n in range(100)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)

    refused = [result for result in results if isinstance(result, QuotaExceeded)]
    assert len(refused) == 93
    assert len(await store.ids(ANN)) == 7
    assert (await store.usage(ANN)).clusters == 7
    assert refused[0].details == {"subject": "users/ann", "what": "clusters", "limit": "7", "used": "7", "asked": "1"}


@pytest.mark.parametrize(
    ("subject", "limits", "details"),
    [
        ("users/ann", Limits(clusters=1), {"what": "clusters", "limit": "1", "used": "1", "asked": "1"}),
        ("users/ann", Limits(workers=2), {"what": "workers", "limit": "2", "used": "2", "asked": "3"}),
        (DEPLOYMENT, Limits(cores_milli=10_000), {"what": "cores", "limit": "10", "used": "9", "asked": "6"}),
        (DEPLOYMENT, Limits(memory_bytes=9 * GIB), {"what": "memory_bytes", "limit": str(9 * GIB)}),
        ("clusters/c1", Limits(workers=2), {"what": "workers", "limit": "2", "used": "0", "asked": "3"}),
    ],
)
async def test_each_limit_binds_and_is_named(
    store: Store, record: Record, new_cluster: NewCluster, subject: str, limits: Limits, details: dict[str, str]
) -> None:
    await record(new_cluster(), demand=of_size(scaled(2)(Spec())))
    await record(new_cluster(owner=BOB), demand=of_size(scaled(2)(Spec())))
    free = Limits()
    with pytest.raises(QuotaExceeded) as refused:
        await record(new_cluster(), demand=of_size(scaled(3)(Spec())), limits={"users/ann": free, subject: limits})
    assert details.items() <= refused.value.details.items()
    assert refused.value.details["subject"] == subject
    assert len(await store.ids()) == 2
    assert await store.usage() == Demand(clusters=2, workers=4, cores_milli=9000, memory_bytes=6 * GIB)


async def test_an_absurd_size_is_refused_by_the_clusters_limit(
    store: Store, record: Record, new_cluster: NewCluster
) -> None:
    cluster, _ = await record(new_cluster(), demand=of_size(Spec()))
    limits = {f"clusters/{cluster.id}": Limits(workers=1000), DEPLOYMENT: Limits(workers=10)}
    with pytest.raises(QuotaExceeded, match=f"clusters/{cluster.id} may have 1000 workers"):
        await store.change_spec(cluster.id, scaled(10**9), demand=of_size, limits=limits)
    assert await store.get(cluster.id) == cluster
    assert await store.usage(ANN) == of_size(Spec())


async def test_without_a_limit_even_an_absurd_size_is_summed_in_whole_numbers(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    cluster, _ = await record(new_cluster(), demand=of_size(Spec()))
    changed = await store.change_spec(cluster.id, scaled(10**12), demand=of_size, limits={})
    assert (await store.usage(ANN)).memory_bytes == 2**53 - 1
    await store.save_status(replace(changed, status=Status(phase=Phase.FAILED, ended=1.0)), fence=fence)
    assert await store.usage(ANN) == await store.usage() == Demand()


async def test_less_is_allowed_above_a_lowered_limit(store: Store, record: Record, new_cluster: NewCluster) -> None:
    cluster, _ = await record(new_cluster(), demand=of_size(scaled(9)(Spec())))
    lowered = {"users/ann": Limits(clusters=0, workers=2)}

    await store.change_spec(cluster.id, scaled(5), demand=of_size, limits=lowered)
    with pytest.raises(QuotaExceeded, match="has 5 and asked for 1 more"):
        await store.change_spec(cluster.id, scaled(6), demand=of_size, limits=lowered)

    assert (await store.usage(ANN)).workers == 5


async def test_scaling_at_once_from_two_replicas_never_passes_the_limit(
    redis_url: str, keys: Keys, store: Store, record: Record, new_cluster: NewCluster
) -> None:
    clusters = [(await record(new_cluster(), demand=of_size(Spec())))[0] for _ in range(20)]
    async with connect(redis_url) as other_connection:
        replicas = [store, Store(other_connection, keys)]
        scalings = [
            replicas[n % 2].change_spec(cluster.id, scaled(3), demand=of_size, limits={DEPLOYMENT: Limits(workers=30)})
            for n, cluster in enumerate(clusters)
        ]
        results = await asyncio.gather(*scalings, return_exceptions=True)
    assert sum(isinstance(result, Cluster) for result in results) == 10
    assert (await store.usage()).workers == 30


async def test_a_limit_on_an_unknown_subject_is_a_fault(record: Record, new_cluster: NewCluster) -> None:
    with pytest.raises(ValueError, match="no limit can be on"):
        await record(new_cluster(), limits={"teams/a": Limits()})
