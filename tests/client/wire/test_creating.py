"""Get or create: the name decides, other options are an error, and an end in between is survived."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import dask.config
import pytest
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import errors
from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace._wire.creating import Wanted, get_or_create
from headrace._wire.option_values import option_values
from headrace.v1 import cluster_pb2


def wanted(
    alias: str = "mine", profile: str = "", groups: Mapping[str, Mapping[str, object]] | None = None, **options: object
) -> Wanted:
    spec = cluster_pb2.ClusterSpec(alias=alias, profile=profile, options=option_values(options))
    for name, values in (groups or {}).items():
        spec.worker_groups.add(name=name, options=option_values(values))
    return Wanted(spec, frozenset(options))


async def test_the_first_creates_and_the_second_gets(fake: FakeHeadrace, connection: Connection) -> None:
    first, first_created = await get_or_create(connection, wanted(worker_cores=4))
    second, second_created = await get_or_create(connection, wanted(worker_cores=4))
    assert (first_created, second_created) == (True, False)
    assert first.name == second.name
    assert len(fake.clusters) == 1


async def test_of_many_at_once_exactly_one_creates(fake: FakeHeadrace, connection: Connection) -> None:
    fake.starts = False
    made = await asyncio.gather(*(get_or_create(connection, wanted()) for _ in range(10)))
    assert sum(created for _, created in made) == 1
    assert len({cluster.name for cluster, _ in made}) == 1
    assert {cluster.status.phase for cluster, _ in made} == {cluster_pb2.PHASE_STARTING}


async def test_without_a_name_each_is_another(connection: Connection) -> None:
    made = [await get_or_create(connection, wanted("")) for _ in range(2)]
    assert [created for _, created in made] == [True, True]


@pytest.mark.parametrize(
    ("existing", "asked", "message"),
    [
        (wanted(worker_cores=4), wanted(worker_cores=8), "worker_cores is 4, not 8"),
        (wanted(), wanted(worker_cores=8), "worker_cores is 2, not 8"),
        (wanted(worker_memory="4 GiB"), wanted(worker_memory="8 GiB"), "worker_memory is 4 GiB, not 8 GiB"),
        (wanted(environment={"A": "b"}), wanted(environment={"A": "c"}), "environment is {'A': 'b'}, not {'A': 'c'}"),
        (wanted(), wanted(profile="gpu"), "profile is 'standard', not 'gpu'"),
        (wanted(), wanted(groups={"big": {}}), "it has no worker group 'big'"),
        (
            wanted(groups={"big": {"worker_cores": 4}}),
            wanted(groups={"big": {"worker_cores": 8}}),
            "worker_groups['big'].worker_cores is 4, not 8",
        ),
        (wanted(from_the_future="x"), wanted(from_the_future="y"), "from_the_future is 'x', not 'y'"),
    ],
)
async def test_other_options_under_a_taken_name_are_named(
    fake: FakeHeadrace, connection: Connection, existing: Wanted, asked: Wanted, message: str
) -> None:
    cluster, _ = await get_or_create(connection, existing)
    with pytest.raises(errors.OptionsDiffer) as raised:
        await get_or_create(connection, asked)
    assert message in raised.value.message
    assert calls.cluster_id(cluster.name) in raised.value.message
    assert raised.value.details["cluster"] == cluster.name
    assert isinstance(raised.value, errors.AliasTaken)
    assert len(fake.clusters) == 1


@pytest.mark.parametrize(
    ("existing", "asked"),
    [
        (wanted(worker_cores=4), wanted()),
        (wanted(), wanted(worker_cores=2)),
        (wanted(worker_cores=4), wanted(worker_cores=4.0)),
        (wanted(worker_memory="4 GiB"), wanted(worker_memory=4 * 2**30)),
        (wanted(environment={"A": 1}), wanted(environment={"A": "1"})),
        (wanted(size="large"), wanted(size="Large one")),
        (wanted(profile="gpu"), wanted(profile="gpu", gpu=True)),
        (wanted(), wanted(profile="standard")),
        (wanted(worker_cores=4, groups={"big": {}}), wanted(groups={"big": {"worker_cores": 4}})),
    ],
)
async def test_options_that_mean_the_same_are_no_difference(
    connection: Connection, existing: Wanted, asked: Wanted
) -> None:
    cluster, _ = await get_or_create(connection, existing)
    found, created = await get_or_create(connection, asked)
    assert (found.name, created) == (cluster.name, False)


async def test_options_that_were_configured_need_not_agree(connection: Connection) -> None:
    cluster, _ = await get_or_create(connection, wanted(worker_cores=4))
    configured = wanted(worker_cores=8)
    assert (await get_or_create(connection, Wanted(configured.spec)))[0].name == cluster.name


async def test_a_cluster_that_ends_between_create_and_get_is_replaced(
    fake: FakeHeadrace, connection: Connection
) -> None:
    old, _ = await get_or_create(connection, wanted())
    taken = errors.AliasTaken("taken", {"cluster": old.name})
    await calls.stop(connection, old.name)
    fake.fail("CreateCluster", taken)
    new, created = await get_or_create(connection, wanted())
    assert created
    assert new.name != old.name


async def test_a_cluster_that_was_deleted_in_between_is_replaced(fake: FakeHeadrace, connection: Connection) -> None:
    fake.fail("CreateCluster", errors.AliasTaken("taken", {"cluster": "clusters/c" + "a" * 19}))
    _, created = await get_or_create(connection, wanted())
    assert created


async def test_the_end_of_a_stopping_cluster_is_waited_for(
    fake: FakeHeadrace, connection: Connection, eventually: Eventually
) -> None:
    fake.starts = False
    old, _ = await get_or_create(connection, wanted())
    stopping = fake.clusters[calls.cluster_id(old.name)]
    fake.set_phase(stopping, cluster_pb2.PHASE_STOPPING)
    creating = asyncio.ensure_future(get_or_create(connection, wanted(), timeout=60))
    await eventually(lambda: fake.calls.count("CreateCluster") >= 3)
    fake.set_phase(stopping, cluster_pb2.PHASE_STOPPED)
    new, created = await creating
    assert created
    assert new.name != old.name


async def test_a_cluster_that_does_not_end_in_time_keeps_its_name(fake: FakeHeadrace, connection: Connection) -> None:
    fake.starts = False
    old, _ = await get_or_create(connection, wanted())
    fake.set_phase(fake.clusters[calls.cluster_id(old.name)], cluster_pb2.PHASE_STOPPING)
    with pytest.raises(errors.AliasTaken, match="has the name 'mine'"):
        await get_or_create(connection, wanted(), timeout=0.2)


async def test_a_lost_answer_makes_no_second_cluster(fake: FakeHeadrace, connection: Connection) -> None:
    fake.fail("CreateCluster", errors.Draining("going"))
    _, created = await get_or_create(connection, wanted())
    assert created
    assert len(fake.clusters) == 1


async def test_a_cancelled_creation_leaves_no_cluster(
    fake: FakeHeadrace, connection: Connection, eventually: Eventually
) -> None:
    with dask.config.set({"headrace.timeouts.call": "10s"}):
        fake.fail("CreateCluster", *[errors.StoreUnavailable("away")] * 3)
        creating = asyncio.ensure_future(get_or_create(connection, wanted()))
        await eventually(lambda: "CreateCluster" in fake.calls)
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
    assert [cluster.record.spec.stop for cluster in fake.clusters.values()] == [True]
