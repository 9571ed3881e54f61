"""Certificates are renewed while processes run."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from tests.client.agent import tasks
from tests.client.agent.fake_controller import TOKEN
from tests.client.agent.running import Cluster

from headrace.agent.enrollment import seconds_to_renewal
from headrace.internal.v1 import agent_service_pb2 as pb


def test_a_certificate_is_renewed_well_before_it_expires() -> None:
    enrollment = pb.EnrollResponse()
    enrollment.expire_time.FromSeconds(1000)
    assert 50 < seconds_to_renewal(enrollment, now=900) < 67
    assert seconds_to_renewal(enrollment, now=1100) == 0


async def _serial(cluster: Cluster, address: str) -> int:
    """Returns the serial number of the certificate that an address presents to a new connection."""
    context = cluster.security().get_connection_args("client")["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    host, port = address.removeprefix("tls://").split(":")

    def read() -> bytes:
        with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as connection:
            certificate = connection.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate

    return x509.load_der_x509_certificate(await asyncio.to_thread(read)).serial_number


async def test_new_connections_get_renewed_certificates_and_old_ones_stay(cluster: Cluster) -> None:
    cluster.controller.certificate_lifetime = timedelta(seconds=12)
    cluster.controller.credential = "credential"
    await cluster.start_scheduler()
    started = datetime.now(UTC)
    [agent] = await cluster.start_workers()
    cluster.controller.certificate_lifetime = timedelta(hours=1)
    worker_address = cluster.controller.state.workers[agent.process]
    async with cluster.connect() as client:
        future = client.submit(tasks.sleep, 1, 3)

        async def renewed() -> bool:
            now = await _serial(cluster, cluster.scheduler_address), await _serial(cluster, worker_address)
            return not {*now} & {cluster.controller.issued[process][0] for process in ("scheduler", agent.process)}

        await cluster.eventually(renewed)
        assert await future == 3
        # Once the first certificates have expired, processes still find one another.
        await cluster.eventually(lambda: datetime.now(UTC) - started > timedelta(seconds=12.5))
        await client.restart(timeout=60)
        assert await client.submit(sum, [1, 2]) == 3
    assert "PRIVATE KEY" not in agent.log
    launched, renewed_with = [f"Agent {token}" for token in (TOKEN, "credential")]
    for process in ("scheduler", agent.process):
        enrolled = zip(cluster.controller.enrolled, cluster.controller.enrolled_with, strict=True)
        first, *later = [shown for request, shown in enrolled if request.process == process]
        assert first == launched
        assert set(later) == {renewed_with}


async def test_a_worker_that_starts_during_a_renewal_gets_the_renewed_certificate(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    hold = cluster.directory / "hold-nanny"
    hold.touch()
    code = f"from tests.client.agent import tasks; tasks.know_late({str(cluster.directory)!r})"
    cluster.controller.enrollment.dask_config.update({"distributed": {"nanny": {"preload": [code]}}})
    cluster.controller.certificate_lifetime = timedelta(seconds=9)
    [agent] = await cluster.start_workers()
    cluster.controller.certificate_lifetime = timedelta(hours=1)
    issued = cluster.controller.issued[agent.process]
    await cluster.eventually(lambda: len(issued) == 2)
    hold.unlink()
    worker_address = cluster.controller.state.workers[agent.process]

    async def renewed() -> bool:
        return await _serial(cluster, worker_address) == issued[1]

    await cluster.eventually(renewed)
