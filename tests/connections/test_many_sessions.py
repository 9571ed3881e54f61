"""Many sessions of one scheduler, honest and forged, through a real Envoy."""

from __future__ import annotations

import asyncio
import gc
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import psutil
import pytest
from distributed.comm.core import connect
from tests.connections.killing import find_envoy
from tests.e2e.running import Running, running, wait_until

from headrace import Gateway, GatewayCluster
from headrace._dask.scheduler_access import ClusterContext, SchedulerAccess
from headrace._resumable.comm import ResumableComm
from headrace._resumable.records import ALPN, HEADER_BYTES, NAME_BYTES, Header, Hello, Kind

SESSIONS = 200
FORGED = 2_000
AT_ONCE = 50
MEMORY = 64 << 20

# The other tests of connections compute at the same time.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def headrace() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="hr-sessions-") as name, running(Path(name)) as headrace:
        yield headrace


@pytest.fixture
def cluster(headrace: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayCluster]:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))
    with dask.config.set({"headrace.connect": "proxied"}), Gateway() as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        yield cluster


def test_all_sessions_are_back_after_one_kill_of_envoy(headrace: Running, cluster: GatewayCluster) -> None:
    arguments = cluster.security.get_connection_args("client")

    async def test() -> None:
        comms = await asyncio.gather(*(connect(cluster.scheduler_address, **arguments) for _ in range(SESSIONS)))
        await asyncio.gather(*map(_ask, comms))
        find_envoy(headrace).kill()
        began = time.monotonic()
        taken = sorted(await asyncio.gather(*(_time(comm, began) for comm in comms)))
        print(f"{SESSIONS} sessions: half were back after {taken[SESSIONS // 2]:.2f} s, all after {taken[-1]:.2f} s")
        await asyncio.gather(*(comm.close() for comm in comms))

    asyncio.run(test())


async def _time(comm: Any, began: float) -> float:
    await _ask(comm)
    return time.monotonic() - began


async def _ask(comm: Any) -> None:
    await comm.write({"op": "identity", "reply": True})
    assert (await comm.read())["type"] == "Scheduler"


def test_a_flood_of_forged_sessions_harms_nobody(headrace: Running, cluster: GatewayCluster) -> None:
    def measure() -> tuple[int, int]:
        open_sessions = sum(type(one) is ResumableComm and not one.closed() for one in gc.get_objects())
        return open_sessions, psutil.Process().memory_info().rss

    access = _access(cluster)
    client: Any
    with cluster.get_client() as client:
        client.wait_for_workers(1, timeout=60)
        kept = client.submit(sum, [1, 2], pure=False)
        assert kept.result(60) == 3
        sessions, before = client.run_on_scheduler(measure)
        name = client.scheduler_comm.comm.session.name
        for _ in range(FORGED // AT_ONCE):
            kinds = asyncio.run(_forge(headrace.port, access, name))
            assert kinds == {Kind.GONE, None, Kind.WELCOME}
            assert client.submit(sum, [3, 4], pure=False).result(60) == 7
        assert kept.result() == 3
        # The last ones end once the scheduler has read to the end of their connections.
        wait_until(lambda: client.run_on_scheduler(measure)[0] <= sessions + 2)
        sessions_after, after = client.run_on_scheduler(measure)
        print(f"{sessions} sessions and {before >> 20} MiB before, {sessions_after} and {after >> 20} MiB after")
        assert after < before + MEMORY


async def _forge(port: int, access: SchedulerAccess, name: bytes) -> set[Kind | None]:
    """Say hello with names that nobody has, with the client's own, and without a certificate; return the answers."""
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    nobody.set_alpn_protocols([ALPN])
    hellos = [(access.resumable_context, number.to_bytes(NAME_BYTES)) for number in range(AT_ONCE - 10)]
    hellos += [(access.resumable_context, name)] * 2 + [(nobody, name)] * 8
    return set(await asyncio.gather(*(_hello(port, access.server_name, *hello) for hello in hellos)))


async def _hello(port: int, server_name: str, context: ssl.SSLContext, name: bytes) -> Kind | None:
    """Return the scheduler's answer, None if it has none."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
        # No client has received so much: the answer is WELCOME, and the session stays with its client.
        writer.write(Hello(name, False, 1 << 60, 60).pack())
        return Header.unpack(await reader.readexactly(HEADER_BYTES)).kind
    except (OSError, asyncio.IncompleteReadError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()


def _access(cluster: GatewayCluster) -> SchedulerAccess:
    context = cluster.security.get_connection_args("client")["ssl_context"]
    assert isinstance(context, ClusterContext)
    return context.access
