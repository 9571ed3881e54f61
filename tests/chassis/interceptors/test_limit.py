"""How often one caller calls, its open streams, and its calls that run at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chassis.running import Metadata, Running, running_service
from tests.conftest import Eventually

from headrace import errors
from headrace._wire.status import from_rpc_error
from headrace.internal.v1 import agent_service_pb2, route_service_pb2
from headrace.v1 import auth_service_pb2, cluster_service_pb2
from headrace.v1.enums import Right
from headrace_chassis.interceptors.call import Call, Method
from headrace_chassis.interceptors.limit import Buckets, Limits, Turns
from headrace_chassis.settings import CallSettings, ServiceSettings

LOGIN = auth_service_pb2.LoginRequest()
WHO_AM_I = auth_service_pb2.WhoAmIRequest()
WATCH = cluster_service_pb2.WatchClustersRequest()
SLOW = CallSettings(
    reads_per_second=0.001,
    reads_burst=3,
    changes_per_second=0.001,
    changes_burst=4,
    logins_per_second=0.001,
    logins_burst=2,
    agents_per_second=0.001,
    agents_burst=3,
    streams_per_user=2,
    streams_per_cluster=1,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def strict(settings: ServiceSettings) -> AsyncIterator[Running]:
    async with running_service(settings.model_copy(update={"calls": SLOW})) as service:
        yield service


def from_source(address: str) -> Metadata:
    return (("x-forwarded-for", address),)


async def outcome(call: Any) -> errors.HeadraceError | None:
    """What a call fails with, if it fails."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    return None


async def accepted(*calls: Any) -> int:
    """The number of calls that were served; the others were too many."""
    outcomes = [await outcome(call) for call in calls]
    assert {type(error) for error in outcomes if error} <= {errors.TooManyRequests}
    return outcomes.count(None)


async def test_one_user_who_calls_too_often_is_refused_and_others_are_not(strict: Running) -> None:
    ann, bob = strict.bearer("ann"), strict.bearer("bob")
    assert await accepted(*(strict.auth.WhoAmI(WHO_AM_I, metadata=ann) for _ in range(6))) == 3
    assert await accepted(strict.auth.WhoAmI(WHO_AM_I, metadata=bob)) == 1
    error = await outcome(strict.auth.WhoAmI(WHO_AM_I, metadata=ann))
    assert isinstance(error, errors.TooManyRequests)
    assert "users/ann calls AuthService.WhoAmI and its like too often, more than 0.001 a second; repeat it in" in str(
        error
    )
    assert 0 < error.retry_after <= 1000


async def test_logins_are_counted_by_their_source(strict: Running) -> None:
    logins = [strict.auth.Login(LOGIN, metadata=from_source("192.0.2.1")) for _ in range(4)]
    assert await accepted(*logins) == 2
    # What a caller claims stands before what the proxy has added.
    spoofed = strict.auth.Login(LOGIN, metadata=from_source("198.51.100.9, 192.0.2.1"))
    assert await accepted(spoofed) == 0
    assert await accepted(strict.auth.Login(LOGIN, metadata=from_source("192.0.2.2"))) == 1


async def test_a_user_has_so_many_open_streams(strict: Running, eventually: Eventually) -> None:
    ann = strict.bearer("ann")
    watches = [strict.clusters.WatchClusters(WATCH, metadata=ann) for _ in range(2)]
    for watch in watches:
        await watch.read()
    error = await outcome(strict.clusters.WatchClusters(WATCH, metadata=ann).read())
    assert isinstance(error, errors.TooManyRequests)
    assert "users/ann has 2 open streams of this service, which is the maximum: close some" in str(error)
    bobs = strict.clusters.WatchClusters(WATCH, metadata=strict.bearer("bob"))
    assert await accepted(bobs.read()) == 1
    watches[0].cancel()
    await eventually(strict.fake.clusters.ended.is_set)
    assert await accepted(strict.clusters.WatchClusters(WATCH, metadata=ann).read()) == 1


async def test_agents_are_counted_by_their_cluster(strict: Running) -> None:
    async def opened(cluster: str) -> Any:
        session = strict.agents.Session(metadata=strict.agent(cluster))
        await session.write(agent_service_pb2.SessionRequest())
        assert await session.read() is not grpc.aio.EOF
        return session

    first = await opened("c1")
    # A request that is written as the refusal arrives would fail by itself, with another status.
    second = await outcome(strict.agents.Session(metadata=strict.agent("c1")).read())
    assert isinstance(second, errors.TooManyRequests)
    assert "clusters/c1 has 1 open streams" in str(second)
    other = await opened("c2")
    first.cancel()
    other.cancel()


async def test_services_are_not_limited(strict: Running) -> None:
    for _ in range(10):
        stream = strict.routes(internal=True).WatchRoutes(iter([route_service_pb2.WatchRoutesRequest()]))
        assert await accepted(stream.read()) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=60))
def test_no_caller_gets_more_than_its_rate_and_its_burst(calls: list[tuple[str, float]]) -> None:
    clock = Clock()
    buckets, started = Buckets(2.0, 5, clock), clock.now
    taken = dict.fromkeys("abc", 0)
    for caller, pause in calls:
        clock.now += pause
        wait = buckets.take(caller)
        taken[caller] += not wait
        assert taken[caller] <= 5 + 2.0 * (clock.now - started) + 1e-4
        assert wait <= 0.5 + 1e-4
        if wait:
            clock.now += wait + 1e-4
            assert buckets.take(caller) == 0
            taken[caller] += 1


def test_full_buckets_take_no_memory_and_a_flood_of_names_resets_none() -> None:
    clock = Clock()
    buckets = Buckets(10.0, 2, clock)
    assert [buckets.take("busy") > 0 for _ in range(3)] == [False, False, True]
    for n in range(5000):
        buckets.take(f"name {n}")
    assert buckets.take("busy") > 0
    assert len(buckets) == 5001
    clock.now += 1
    for n in range(20_000):
        clock.now += 0.01
        buckets.take(f"another name {n}")
    assert len(buckets) < 12_000


async def test_calls_wait_for_their_turn_in_their_order_and_the_cancelled_leave() -> None:
    turns, running = Turns(of_caller=2, together=3), list[str]()
    release = {name: asyncio.Event() for name in ("a0", "a1", "a2", "a3", "b0", "b1", "b2")}

    async def serve(call: Any) -> None:
        running.append(call)
        await release[call].wait()
        running.remove(call)

    async def settle() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    calls = {name: asyncio.create_task(turns.run(name[0], serve, cast("Any", name))) for name in release}
    await settle()
    assert running == ["a0", "a1", "b0"]
    calls["a2"].cancel()
    release["a0"].set()
    await settle()
    assert running == ["a1", "b0", "b1"]
    release["a1"].set()
    await settle()
    assert running == ["b0", "b1", "a3"]
    for event in release.values():
        event.set()
    outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 1
    assert not running


@pytest.mark.parametrize("report", ["ListUsage", "ListBudgets"])
async def test_one_report_of_a_user_is_made_at_a_time_and_others_do_not_wait_for_it(report: str) -> None:
    limits, running, release = Limits(CallSettings(), []), list[str](), asyncio.Event()

    async def serve(call: Call) -> None:
        running.append(call.context.peer())
        await release.wait()

    def called(name: str, peer: str) -> asyncio.Future[Any]:
        method = Method(f"/{name}", name, is_stream=False, right=Right.CLUSTER_VIEW)
        call = Call(None, cast("Any", SimpleNamespace(peer=lambda: peer)), {})
        return asyncio.ensure_future(limits.limit(method, serve)(call))

    async def settle() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    ann, bob = "ipv4:192.0.2.1:1", "ipv4:192.0.2.2:1"
    calls = [called(f"UsageService.{report}", peer) for peer in (ann, ann, bob)]
    calls.append(called("ClusterService.GetCluster", ann))
    await settle()
    assert running == [ann, bob, ann]
    release.set()
    await asyncio.gather(*calls)
    assert len(running) == 4
