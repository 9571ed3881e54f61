"""Limits: never one too many, and the answer names the one that binds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from tests.controller.builders import event, new_cluster
from tests.controller.conftest import Recorder

from headrace.errors import QuotaExceeded
from headrace_chassis.redis.connection import connect
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, Demand, Group, Limits, Phase, Status
from headrace_controller.store import DEPLOYMENT, Fence, Store

GIB = 2**30


def demand_of(cluster: Cluster) -> Demand:
    workers = sum(group.size for group in cluster.spec.groups)
    return Demand(
        clusters=1,
        workers=workers,
        cores_milli=1500 * (1 + workers),
        memory_bytes=GIB * (1 + workers),
        gpus=workers,
    )


def of_size(size: int) -> Demand:
    return demand_of(scaled(size)(new_cluster()))


def scaled(size: int) -> Callable[[Cluster], Cluster]:
    return lambda cluster: replace(cluster, spec=replace(cluster.spec, groups=(Group(size=size),)))


async def test_a_hundred_at_once_get_exactly_the_limit(redis: Redis, redis_url: str, keys: Keys, store: Store) -> None:
    async with connect(redis_url) as other_connection:
        replicas = [store, Store(other_connection, keys)]
        calls = [
            replicas[n % 2].records.create(
                new_cluster(),
                secrets=b"",
                demand=of_size(0),
                limits={"users/ann": Limits(clusters=7)},
                event=event(),
            )
            for n in range(100)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)

    refused = [result for result in results if isinstance(result, QuotaExceeded)]
    assert len(refused) == 93
    assert len(await store.reads.ids()) == 7
    assert (await store.usage("users/ann"))["clusters"] == 7
    assert refused[0].details == {
        "subject": "users/ann",
        "what": "clusters",
        "limit": "7",
        "used": "7",
        "left": "0",
        "asked": "1",
    }


@pytest.mark.parametrize(
    ("subject", "limits", "details"),
    [
        ("users/ann", Limits(clusters=1), {"what": "clusters", "limit": "1", "used": "1", "asked": "1"}),
        ("users/ann", Limits(workers=2), {"what": "workers", "limit": "2", "used": "2", "asked": "3"}),
        ("groups/lab", Limits(gpus=4), {"what": "gpus", "limit": "4", "used": "4", "asked": "3"}),
        (DEPLOYMENT, Limits(cores_milli=10_000), {"what": "cores", "limit": "10", "used": "9", "asked": "6"}),
        (DEPLOYMENT, Limits(memory_bytes=9 * GIB), {"what": "memory_bytes", "limit": str(9 * GIB)}),
        ("clusters/c1", Limits(workers=2), {"what": "workers", "limit": "2", "used": "0", "asked": "3"}),
    ],
)
async def test_each_limit_binds_and_is_named(
    store: Store, record: Recorder, subject: str, limits: Limits, details: dict[str, str]
) -> None:
    free = {"users/ann": Limits(), "groups/lab": Limits()}
    await record(new_cluster(), demand=of_size(2), limits=free)
    await record(new_cluster(owner="bob"), demand=of_size(2), limits={"groups/lab": Limits()})
    with pytest.raises(QuotaExceeded) as refused:
        await record(new_cluster("c1"), demand=of_size(3), limits={**free, subject: limits})
    assert details.items() <= refused.value.details.items()
    assert refused.value.details["subject"] == subject
    assert len(await store.reads.ids()) == 2
    expected = Demand(clusters=2, workers=4, cores_milli=9000, memory_bytes=6 * GIB, gpus=4)
    assert await store.usage(DEPLOYMENT) == await store.usage("groups/lab") == expected


async def test_usage_counts_for_every_subject_of_the_limits_until_the_end(
    store: Store, record: Recorder, fence: Fence
) -> None:
    limits = {"groups/a b:c": Limits(), "profiles/gpu": Limits(workers=9)}
    cluster = await record(new_cluster(), demand=of_size(3), limits=limits)
    subjects = [*limits, "users/ann", DEPLOYMENT]
    assert [await store.usage(subject) for subject in subjects] == [of_size(3)] * 4
    changed = await store.records.change(cluster, scaled(1), demand=demand_of, limits=limits)
    assert [await store.usage(subject) for subject in subjects] == [of_size(1)] * 4
    # What was charged is given back to whom it was charged, whoever is charged from now on.
    moved = {"groups/new": Limits()}
    changed = await store.records.change(changed, scaled(2), demand=demand_of, limits=moved)
    assert [await store.usage(subject) for subject in subjects] == [Demand()] * 2 + [of_size(2)] * 2
    assert await store.usage("groups/new") == of_size(2)
    ended = replace(changed, status=Status(phase=Phase.FAILED, ended=1.0))
    await store.records.save_status(changed, ended, fence=fence)
    assert [await store.usage(subject) for subject in [*subjects, *moved]] == [Demand()] * 5


async def test_an_absurd_size_is_refused_by_the_clusters_limit(store: Store, record: Recorder) -> None:
    cluster = await record(new_cluster(), demand=of_size(0))
    limits = {f"clusters/{cluster.id}": Limits(workers=1000), DEPLOYMENT: Limits(workers=10)}
    with pytest.raises(QuotaExceeded, match=f"clusters/{cluster.id} may have 1000 workers"):
        await store.records.change(cluster, scaled(10**9), demand=demand_of, limits=limits)
    assert await store.reads.get(cluster.id) == cluster
    assert await store.usage("users/ann") == of_size(0)


async def test_without_a_limit_even_an_absurd_size_is_summed_in_whole_numbers(
    store: Store, record: Recorder, fence: Fence
) -> None:
    cluster = await record(new_cluster(), demand=of_size(0))
    changed = await store.records.change(cluster, scaled(10**12), demand=demand_of, limits={})
    assert (await store.usage("users/ann"))["memory_bytes"] == 2**53 - 1
    ended = replace(changed, status=Status(phase=Phase.FAILED, ended=1.0))
    await store.records.save_status(changed, ended, fence=fence)
    assert await store.usage("users/ann") == await store.usage(DEPLOYMENT) == Demand()


async def test_less_is_allowed_above_a_lowered_limit(store: Store, record: Recorder) -> None:
    cluster = await record(new_cluster(), demand=of_size(9))
    lowered = {"users/ann": Limits(clusters=0, workers=2)}

    smaller = await store.records.change(cluster, scaled(5), demand=demand_of, limits=lowered)
    with pytest.raises(QuotaExceeded, match="has 5 and asked for 1 more"):
        await store.records.change(smaller, scaled(6), demand=demand_of, limits=lowered)

    assert (await store.usage("users/ann"))["workers"] == 5


async def test_scaling_at_once_from_two_replicas_never_passes_the_limit(
    redis_url: str, keys: Keys, store: Store, record: Recorder
) -> None:
    clusters = [await record(new_cluster(), demand=of_size(0)) for _ in range(20)]
    async with connect(redis_url) as other_connection:
        replicas = [store, Store(other_connection, keys)]
        scalings = [
            replicas[n % 2].records.change(
                cluster, scaled(3), demand=demand_of, limits={DEPLOYMENT: Limits(workers=30)}
            )
            for n, cluster in enumerate(clusters)
        ]
        results = await asyncio.gather(*scalings, return_exceptions=True)
    assert sum(isinstance(result, Cluster) for result in results) == 10
    assert (await store.usage(DEPLOYMENT))["workers"] == 30
