"""What users see while the way to a scheduler is interrupted, and after it: real Dask behind a proxy that goes away."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from subprocess import PIPE
from typing import Any

import dask.config
import pytest
from cryptography.x509 import load_pem_x509_certificate
from distributed.client import FutureCancelledError
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import Gateway
from headrace.errors import ClusterEnded
from headrace.stopwatch import Stopwatch


@pytest.fixture(autouse=True)
def _through_the_proxy() -> Iterator[None]:
    with dask.config.set({"headrace.connect": "proxied"}):
        yield


async def test_calls_to_the_scheduler_wait(fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually) -> None:
    async with agateway.new_cluster() as cluster, cluster.get_client() as made:
        client: Any = made
        await cluster.scale(1)
        await cluster.wait_for_workers(1)
        before = client.submit(sum, [1, 2])
        fake.proxy.go_away()
        await eventually(lambda: _access(cluster).absences.seconds is not None)
        calls = [
            asyncio.ensure_future(call)
            for call in (
                before,
                client.submit(sum, [2, 3]),
                client.run_on_scheduler(lambda: 7),
                client.who_has([before]),
                client.scatter(b"x" * 1_000_000, hash=False),
                client.gather([before]),
                client.scheduler.identity(),
                client.cluster.scheduler_comm.identity(),
                client.nthreads(),
                client.run(lambda: 8),
            )
        ]
        done, _ = await asyncio.wait(calls, timeout=1)
        assert not done
        fake.proxy.come_back()
        answers: list[Any] = await asyncio.gather(*calls)
        assert answers[:3] == [3, 5, 7]
        assert len(await answers[4].result()) == 1_000_000
        assert answers[5] == [3]


async def test_views_and_log_say_that_the_way_is_interrupted(
    fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async with agateway.new_cluster() as cluster, cluster.get_client():
        assert "running" in repr(cluster)
        fake.proxy.go_away()
        await eventually(lambda: "the connection to cluster" in caplog.text)
        assert f"cluster {cluster.name} is interrupted; reconnecting for 600 s at most" in caplog.text
        assert re.search(r"reconnecting \(\d+ s\), workers=0", repr(cluster))
        for view in (cluster._repr_html_(), cluster._scaling_status()):
            assert re.search(r"<strong>Reconnecting \(\d+ s\)</strong>", view)
        fake.proxy.come_back()
        await eventually(lambda: f"connected to cluster {cluster.name} again" in caplog.text)
        assert "running" in repr(cluster)
        for view in (cluster._repr_html_(), cluster._scaling_status()):
            assert "Reconnecting" not in view


async def test_a_scheduler_that_is_gone_is_said_to_be_gone(
    fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while the proxy is away: headrace knows, and answers."""
    async with agateway.new_cluster() as cluster, cluster.get_client() as made:
        client: Any = made
        future = client.submit(sum, [1, 2])
        waiting = asyncio.ensure_future(future.result())
        fake.proxy.go_away()
        await agateway.stop_cluster(cluster.name)
        with pytest.raises(FutureCancelledError, match="lost the connection to the scheduler"):
            await waiting
        lost = [record.getMessage() for record in caplog.records if "cannot go on" in record.getMessage()]
        why = f"cluster {cluster.name} has ended; results that were not fetched are lost"
        assert lost == [f"the connection to cluster {cluster.name} cannot go on: {why}"]


@pytest.mark.parametrize("grace", [0, "10m"])
async def test_a_client_of_a_scheduler_that_is_gone_is_closed_soon(
    agateway: AsyncGateway, eventually: Eventually, grace: int | str
) -> None:
    """Dask alone would go on trying for half a minute, and keep what is submitted meanwhile."""
    with dask.config.set({"headrace.session-grace": grace}):
        async with agateway.new_cluster() as cluster, cluster.get_client() as client:
            await cluster.scale(1)
            await cluster.wait_for_workers(1)
            await agateway.stop_cluster(cluster.name)
            await eventually(lambda: client.status == "closed")
            await eventually(lambda: "workers=0" in repr(cluster))
            with pytest.raises(ClusterEnded):
                await cluster.wait_for_workers(1)


def test_no_client_is_made_of_a_cluster_that_has_ended(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        gateway.stop_cluster(cluster.name)
        with pytest.raises(ClusterEnded):
            cluster.get_client()


async def test_a_certificate_that_ran_out_is_renewed_before_the_dial(
    fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually
) -> None:
    fake.certificate_seconds = 2
    async with agateway.new_cluster() as cluster, cluster.get_client() as made:
        client: Any = made
        fake.proxy.go_away()
        future = client.submit(sum, [1, 2])
        await cluster.scale(1)
        access = _access(cluster)
        old = access.facts.certificate_pem
        await eventually(lambda: _has_expired(old))
        fake.proxy.come_back()
        assert await future.result() == 3
        assert access.facts.certificate_pem != old


async def test_a_session_follows_its_scheduler_to_another_address(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    with dask.config.set({"headrace.connect": "direct"}):
        async with agateway.new_cluster() as cluster, cluster.get_client() as made:
            client: Any = made
            future = client.submit(sum, [1, 2])
            await asyncio.to_thread(fake.move, fake.clusters[cluster.name])
            await cluster.scale(1)
            assert await future.result() == 3
    assert fake.proxy.passed == []


async def test_a_scheduler_is_reached_while_headrace_is_away(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    """Only the proxy is back: the certificate that there is will do."""
    async with agateway.new_cluster() as cluster, cluster.get_client() as made:
        client: Any = made
        await cluster.scale(1)
        await cluster.wait_for_workers(1)
        access = _access(cluster)
        access._renewal_age = 0.0
        await asyncio.to_thread(fake.stop_server)
        fake.proxy.cut()
        assert await client.submit(sum, [1, 2]).result() == 3
        await asyncio.to_thread(fake.restart_server)


async def test_certificates_are_renewed_by_either_clock(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    """The monotonic clock stands still while a laptop sleeps; the other one may be set back."""
    async with agateway.new_cluster() as cluster:
        record, access = fake.clusters[cluster.name], _access(cluster)
        await access.ready()
        clocks = {"monotonic": 0.0, "wall": 0.0}
        for jumps in ({"wall": 3000.0}, {"wall": -1e6, "monotonic": 3000.0}):
            issued = record.certificates_issued
            access._age = Stopwatch(lambda: clocks["monotonic"], lambda: clocks["wall"])
            await access.ready()
            assert record.certificates_issued == issued
            clocks.update(jumps)
            await access.ready()
            assert record.certificates_issued == issued + 1
            clocks.update(monotonic=0.0, wall=0.0)


def test_a_user_may_go_during_an_absence(
    fake: FakeHeadrace, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with gateway.new_cluster() as other, other.get_client():
        cluster = gateway.new_cluster()
        client = cluster.get_client()
        waiting = client.submit(sum, [1, 2])
        fake.proxy.go_away()
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.1)
        cluster.scale(1)
        client.close()
        gateway.close()
        cluster.shutdown()
        assert not fake.clusters[cluster.name].lives
    records = [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"} and _is_ours(record)]
    # Told after a second, if all of this has taken so long.
    assert not [message for record in records if "is interrupted" not in (message := record.getMessage())]


async def test_a_coroutine_may_go_during_an_absence(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    before = asyncio.all_tasks()
    async with agateway.new_cluster() as cluster, cluster.get_client() as made:
        client: Any = made
        waiting = asyncio.ensure_future(client.submit(sum, [1, 2]).result())
        fake.proxy.go_away()
        assert not (await asyncio.wait([waiting], timeout=0.1))[0]
        waiting.cancel()
        await cluster.scale(1)
        await client.close()
        await cluster.shutdown()
        assert not fake.clusters[cluster.name].lives
        with suppress(asyncio.CancelledError):
            await waiting
    assert not [task for task in asyncio.all_tasks() - before if "_resumable" in repr(task)]


_USER = """
from headrace import Gateway
from headrace.errors import ClusterEnded

cluster = Gateway().new_cluster()
client = cluster.get_client()
future = client.submit(sum, [1, 2])
print(cluster.name, flush=True)
future.result()
"""


def test_an_interrupt_ends_a_process_during_an_absence(fake: FakeHeadrace, configured: None) -> None:
    settings = {f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": str(value) for key, value in _settings()}
    user = subprocess.Popen(
        [sys.executable, "-c", _USER], env=os.environ | settings, stdout=PIPE, stderr=PIPE, text=True
    )
    assert user.stdout is not None
    assert user.stderr is not None
    cluster = fake.clusters[user.stdout.readline().strip()]
    fake.proxy.go_away()
    assert "is interrupted; reconnecting" in user.stderr.readline()
    user.send_signal(signal.SIGINT)
    _, said = user.communicate(timeout=30)
    assert said.startswith("Traceback")
    assert said.endswith("KeyboardInterrupt\n")
    assert "headrace" not in said
    assert not cluster.lives


def _settings() -> Iterable[tuple[str, object]]:
    yield "headrace.connect", "proxied"
    for key in ("address", "proxy-address", "tls.ca-file", "auth.type", "auth.kwargs"):
        yield f"headrace.{key}", dask.config.get(f"headrace.{key}")


def _has_expired(certificate_pem: str) -> bool:
    return load_pem_x509_certificate(certificate_pem.encode()).not_valid_after_utc < datetime.now(UTC)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.startswith(("headrace", "asyncio", "distributed.client"))


def _access(cluster: Any) -> Any:
    return cluster.security.get_connection_args("client")["ssl_context"].access
