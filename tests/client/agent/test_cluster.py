"""A scheduler and its workers, used by a client."""

from __future__ import annotations

import signal
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import distributed
import grpc
import pytest
from distributed.security import Security
from tests.client.agent import tasks
from tests.client.agent.fake_controller import TOKEN
from tests.client.agent.running import Cluster

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace_chassis.tls.certificates import Authority


async def test_a_client_computes_on_workers_that_joined_over_tls(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers(2)
    async with cluster.connect() as client:
        assert await client.submit(sum, [1, 2, 3]) == 6
        assert sorted(w["name"] for w in (await client.scheduler.identity())["workers"].values()) == [
            "default-1-abc234",
            "default-2-abc234",
        ]


async def test_the_hello_has_the_addresses_of_scheduler_and_dashboard(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    hello = cluster.controller.state.hellos[0]
    assert hello.scheduler_address.startswith("tls://127.0.0.1:")
    assert hello.dashboard_address.startswith("127.0.0.1:")
    assert hello.versions["distributed"] == version("distributed")
    assert hello.activity.HasField("idle_since")


async def test_a_cluster_computes_where_it_may_listen_on_an_ipv6_address_alone(cluster: Cluster) -> None:
    cluster.controller.enrollment.listen_host = "::1"
    await cluster.start_scheduler()
    hello = cluster.controller.state.hellos[0]
    assert hello.scheduler_address.startswith("tls://[::1]:")
    assert hello.dashboard_address.startswith("[::1]:")
    await cluster.start_workers(1)
    async with cluster.connect() as client:
        assert await client.submit(sum, [1, 2, 3]) == 6
        [worker] = (await client.scheduler.identity())["workers"]
    assert worker.startswith("tls://[::1]:")


async def test_a_client_with_a_certificate_of_another_cluster_is_refused(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    leaf = Authority.create("another", timedelta(hours=1)).issue("client", timedelta(hours=1))
    security = Security(
        require_encryption=True,
        tls_ca_file=cluster.controller.authority.cert_pem.decode(),
        tls_client_cert=leaf.cert_pem.decode(),
        tls_client_key=leaf.key_pem.decode(),
    )
    with pytest.raises(OSError, match=r"[Tt]imed out|SSL|TLS"):
        await distributed.Client(cluster.scheduler_address, security=security, asynchronous=True, timeout="1s")


async def test_settings_of_the_enrolment_reach_scheduler_and_tasks(cluster: Cluster) -> None:
    enrollment = cluster.controller.enrollment
    enrollment.dask_config.update({"distributed": {"worker": {"memory": {"target": 0.51}}}, "my": {"number": 7}})
    enrollment.environment["MY_VARIABLE"] = "here"
    enrollment.worker_resources["GPU"] = 2
    await cluster.start_scheduler()
    await cluster.start_workers()
    async with cluster.connect() as client:
        assert await client.submit(tasks.settings, resources={"GPU": 1}) == ("here", 0.51, 7, None)
        assert await client.run_on_scheduler(tasks.settings) == ("here", 0.51, 7, None)


async def test_stop_ends_the_scheduler_and_its_workers(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    workers = await cluster.start_workers(2)
    await cluster.settled()
    cluster.controller.instruct(pb.SessionResponse(stop=True))
    await cluster.eventually(lambda: scheduler.code == 0)
    await cluster.eventually(lambda: [w.code for w in workers] == [0, 0])


async def test_a_scheduler_ends_gracefully_on_sigterm(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    workers = await cluster.start_workers()
    await cluster.settled()
    scheduler.kill(signal.SIGTERM)
    await cluster.eventually(lambda: scheduler.code == 0)
    await cluster.eventually(lambda: workers[0].code == 0)


async def test_a_worker_ends_soon_after_sigterm_whatever_it_computes(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [worker] = await cluster.start_workers()
    async with cluster.connect() as client:
        future = client.submit(tasks.sleep, 60)
        await cluster.eventually(lambda: _processing(client))
        worker.kill(signal.SIGTERM)
        await cluster.eventually(lambda: worker.code is not None)
        del future


async def _processing(client: Any) -> bool:
    return any((await client.processing()).values())


async def test_nothing_secret_is_in_the_logs(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    [worker] = await cluster.start_workers()
    for log in (scheduler.log, worker.log):
        assert log
        assert TOKEN not in log
        assert "PRIVATE KEY" not in log


async def test_clients_and_idleness_are_reported(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers()
    state = cluster.controller.state
    async with cluster.connect() as client:
        await cluster.eventually(lambda: state.activity.clients == 1)
        hold = cluster.directory / "hold-1"
        hold.touch()
        future = client.submit(tasks.counted, str(cluster.directory), 1)
        await cluster.eventually(lambda: not state.activity.HasField("idle_since"))
        hold.unlink()
        await future
        await cluster.eventually(lambda: state.activity.HasField("idle_since"))
    await cluster.eventually(lambda: state.activity.clients == 0)


async def test_a_scheduler_from_standby_is_like_any_other(cluster: Cluster) -> None:
    await cluster.start_scheduler(standby=True)
    await cluster.start_workers()
    async with cluster.connect() as client:
        assert await client.submit(sum, [1, 2]) == 3


async def test_a_scheduler_that_ends_by_its_idle_timeout_reports_why(cluster: Cluster) -> None:
    cluster.controller.enrollment.dask_config.update({"distributed": {"scheduler": {"idle-timeout": "300ms"}}})
    scheduler = await cluster.start_scheduler()
    await cluster.eventually(lambda: scheduler.code == 0)
    assert cluster.controller.state.closings == [cluster_pb2.END_REASON_IDLE]


async def test_an_idle_scheduler_ends_although_no_controller_answers(cluster: Cluster) -> None:
    cluster.controller.enrollment.dask_config.update({"distributed": {"scheduler": {"idle-timeout": "1s"}}})
    cluster.controller.session_refusal = grpc.StatusCode.UNAVAILABLE  # as soon as it has enrolled
    scheduler = cluster.start("scheduler")
    await cluster.eventually(lambda: scheduler.code is not None, within=60)
    assert scheduler.code == 0, scheduler.log
    assert cluster.controller.refused
    assert "no controller received the reason why" in scheduler.log


async def test_a_scheduler_that_a_client_shuts_down_reports_it(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    async with cluster.connect() as client:
        await client.shutdown()
    await cluster.eventually(lambda: scheduler.code == 0)
    assert cluster.controller.state.closings == [cluster_pb2.END_REASON_USER]


async def test_a_scheduler_that_is_stopped_reports_no_reason_of_its_own(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    cluster.controller.instruct(pb.SessionResponse(stop=True))
    await cluster.eventually(lambda: scheduler.code == 0)
    assert cluster.controller.state.closings == []
