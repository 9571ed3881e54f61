"""The two ways to a scheduler, and certificates that renew themselves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from typing import Any, Literal, cast

import dask.config
import pytest
from distributed import Client, Security
from distributed.comm.core import CommClosedError, FatalCommClosedError, connect
from distributed.comm.registry import backends
from distributed.comm.tcp import TLS
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually
from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient

from headrace import Gateway, GatewayCluster, errors
from headrace._dask.comm import (
    GatewayBackend,
    RetryableTLSConnector,
    parse_address,
)
from headrace._dask.scheduler_access import as_file


@pytest.fixture(params=["auto", "direct", "proxied"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    # After 0.3 s, a direct way that a busy machine has not opened yet counts as none.
    with dask.config.set({"headrace.connect": request.param, "headrace.timeouts.direct": "60s"}):
        yield request.param


def test_each_way_computes(fake: FakeHeadrace, gateway: Gateway, mode: str) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(1)
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        port = fake.clusters[cluster.name].port
        through = fake.proxy.port if mode == "proxied" else port
        assert _peer(client) == f"tls://127.0.0.1:{through}"
        assert set(fake.proxy.passed) == (
            {f"{cluster.name}.clusters.headrace.internal"} if mode == "proxied" else set()
        )


def test_auto_goes_through_the_proxy_where_no_direct_address_is_given(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.direct = False
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        assert _peer(client) == f"tls://127.0.0.1:{fake.proxy.port}"


async def test_direct_says_when_there_is_no_direct_way(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    fake.direct = False
    with dask.config.set({"headrace.connect": "direct"}):
        async with agateway.new_cluster() as cluster:
            with pytest.raises(FatalCommClosedError, match=r"no direct address.*headrace\.connect"):
                await cluster.get_client()


async def test_auto_falls_back_quickly_and_remembers(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster:
        access = _access(cluster)
        await access.ready()
        access.direct_address = "tls://192.0.2.1:1"  # for documentation only: nothing answers there
        comm = await connect(cluster.scheduler_address, **cluster.security.get_connection_args("client"))
        assert comm.peer_address == f"tls://127.0.0.1:{fake.proxy.port}"
        assert access.direct() == ""
        await comm.close()


async def test_somebody_else_at_the_direct_address_is_not_trusted(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster, agateway.new_cluster() as other:
        access = _access(cluster)
        await access.ready()
        access.direct_address = f"tls://127.0.0.1:{fake.clusters[other.name].port}"
        comm = await connect(cluster.scheduler_address, **cluster.security.get_connection_args("client"))
        assert comm.peer_address == f"tls://127.0.0.1:{fake.proxy.port}"
        await comm.close()


async def test_clusters_side_by_side_through_one_port(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    with dask.config.set({"headrace.connect": "proxied"}):
        async with agateway.new_cluster() as one, agateway.new_cluster() as other:
            async with one.get_client() as first, other.get_client() as second:
                ids = {client.scheduler_info()["id"] for client in (first, second)}
            assert len(ids) == 2


@pytest.mark.parametrize(("agents_grace", "users_grace"), [(0, "10m"), (60, 0)])
async def test_without_a_session_a_broken_connection_is_made_anew(
    fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually, agents_grace: int, users_grace: int | str
) -> None:
    """An agent of before, or a user who wants none."""
    fake.grace = agents_grace
    with dask.config.set({"headrace.connect": "proxied", "headrace.session-grace": users_grace}):
        async with agateway.new_cluster() as cluster, cluster.get_client() as client:
            await cluster.scale(1)
            before = client.scheduler_comm
            fake.proxy.cut()
            await eventually(lambda: client.scheduler_comm is not before and client.status == "running")
            assert await client.submit(sum, [1, 2]) == 3


async def test_certificates_are_renewed_before_they_run_out(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster:
        record, access = fake.clusters[cluster.name], _access(cluster)
        await access.ready()
        await access.ready()
        assert record.certificates_issued == 1
        access._renewal_age = 0.0
        await asyncio.gather(*(access.ready() for _ in range(5)))
        assert record.certificates_issued == 2


async def test_while_headrace_is_away_a_good_certificate_will_do(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster:
        access = _access(cluster)
        await access.ready()
        access._renewal_age = 0.0
        fake.fail("ConnectCluster", errors.InternalError("out of order"), errors.InternalError("out of order"))
        await access.ready()
        access._renewal_age = access._expiry_age = 0.0
        with pytest.raises(errors.InternalError):
            await access.ready()


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(errors.InternalError("x"), FatalCommClosedError), (errors.ClusterEnded("gone"), FatalCommClosedError)],
)
async def test_failures_reach_dask_as_its_own(
    fake: FakeHeadrace, agateway: AsyncGateway, failure: errors.HeadraceError, raised: type[Exception]
) -> None:
    async with agateway.new_cluster() as cluster:
        access = _access(cluster)
        await access.ready()
        access._renewal_age = access._expiry_age = 0.0
        fake.fail("ConnectCluster", failure)
        with pytest.raises(raised, match=str(failure)):
            await connect(cluster.scheduler_address, **cluster.security.get_connection_args("client"))


async def test_dask_repeats_what_will_pass(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster:
        access = _access(cluster)
        await access.ready()
        access._renewal_age = access._expiry_age = 0.0
        fake.fail("ConnectCluster", errors.DeadlineExceeded("slow"))
        comm = await connect(cluster.scheduler_address, **cluster.security.get_connection_args("client"))
        await comm.close()


def test_a_client_on_a_loop_of_its_own(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:

        async def compute() -> str:
            async with Client(cluster.scheduler_address, security=cluster.security, asynchronous=True) as client:
                return client.scheduler_info()["type"]

        assert asyncio.run(compute()) == "Scheduler"


async def test_an_unknown_cluster_is_refused_by_the_proxy(fake: FakeHeadrace) -> None:
    with pytest.raises(OSError, match="cnosuchcluster"):
        await connect(f"gateway://127.0.0.1:{fake.proxy.port}/cnosuchcluster", timeout=0.3, ssl_context=_any_context())


class _ClosedBeforeItsHandshake(TCPClient):
    async def connect(self, *args: Any, **kwargs: Any) -> IOStream:
        stream = await super().connect(*args, **kwargs)
        stream.close()
        return stream


@pytest.mark.parametrize("client", [TCPClient(), _ClosedBeforeItsHandshake()])
async def test_a_connection_that_breaks_within_its_handshake_may_be_tried_again(client: TCPClient) -> None:
    broken = asyncio.Event()

    async def break_after_the_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        broken.set()

    async with await asyncio.start_server(break_after_the_hello, "127.0.0.1", 0) as server:
        connector: Any = RetryableTLSConnector()
        connector.client = client
        address = "{}:{}".format(*server.sockets[0].getsockname())
        with pytest.raises(CommClosedError, match="was closed before its TLS handshake was over") as raised:
            await connector.connect(address, ssl_context=_any_context(), server_hostname="c1")
        assert not isinstance(raised.value, FatalCommClosedError)
        await broken.wait()


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancelled_attempt_leaves_no_connection_open(steps: int) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"127.0.0.1:{server.getsockname()[1]}/c1"
        attempt = asyncio.create_task(GatewayBackend().get_connector().connect(address, ssl_context=_any_context()))
        accepted, _ = await loop.sock_accept(server)
        with accepted:
            for _ in range(steps):  # of the event loop, since the connection is there
                await asyncio.sleep(0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            while await asyncio.wait_for(loop.sock_recv(accepted, 4096), 30):
                pass


async def test_a_plain_context_will_do_with_the_default_server_name(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster:
        await _access(cluster).ready()
        context, pems = _any_context(), cluster.security.get_tls_config_for_role("client")
        with as_file(pems["cert"] + pems["key"]) as path:
            context.load_cert_chain(path)
        await (await connect(cluster.scheduler_address, ssl_context=context)).close()
    assert fake.proxy.passed == [f"{cluster.name}.clusters.headrace.internal"]


async def test_dasks_own_client_connects_with_the_certificate(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster:
        await cluster.scale(1)
        await _access(cluster).ready()
        pems = cluster.security.get_tls_config_for_role("client")
        security = Security(tls_ca_file=pems["ca_file"], tls_client_cert=pems["cert"], tls_client_key=pems["key"])
        async with Client(
            f"tls://127.0.0.1:{fake.clusters[cluster.name].port}", security=security, asynchronous=True
        ) as made:
            client: Any = made
            assert isinstance(client.scheduler_comm.comm, TLS)
            assert await client.submit(sum, [1, 2]).result() == 3


def test_a_client_without_security_is_told_what_to_do(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, pytest.raises(TypeError, match=r"security=cluster\.security"):
        Client(cluster.scheduler_address)


async def test_the_private_key_is_never_on_disk(agateway: AsyncGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async with agateway.new_cluster() as cluster:
        monkeypatch.setattr(tempfile, "TemporaryDirectory", None)
        access = _access(cluster)
        await access.fetch()
        config = cluster.security.get_tls_config_for_role("client")
        assert config["key"].startswith("-----BEGIN")
        assert repr(cluster.security) == f"GatewaySecurity<{cluster.name}>"
        assert config["key"] not in str(_view(cluster.security))


@pytest.mark.parametrize("address", ["host", "host:1", "host/c", "host:x/c", ":1/c"])
def test_addresses_must_be_whole(address: str) -> None:
    with pytest.raises(ValueError, match=r"gateway://host:port/cluster|Port"):
        parse_address(address)


def test_the_backend_answers_what_dask_asks() -> None:
    backend: Any = GatewayBackend()
    assert backend.get_address_host("127.0.0.1:1/c") == "127.0.0.1"
    assert backend.get_address_host_port("127.0.0.1:1/c") == ("127.0.0.1", 1)
    assert backend.resolve_address("h:1/c") == "h:1/c"
    assert backend.get_local_address_for("127.0.0.1:1/c") == "127.0.0.1:1/c"
    with pytest.raises(NotImplementedError):
        backend.get_listener("h:1/c", None, True)


class OtherBackend:
    """As dask-gateway's: claims gateway:// when it is imported."""

    def get_connector(self) -> Any:
        return self

    async def connect(self, address: str, deserialize: bool = True, **connection_args: Any) -> Any:
        raise OSError(f"the other one was asked for {address}")


async def test_dask_gateway_may_be_there_too(agateway: AsyncGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends, "gateway", cast("Any", OtherBackend()))
    async with agateway.new_cluster() as cluster, cluster.get_client() as client:
        assert client.status == "running"
        with pytest.raises(OSError, match="Timed out") as raised:
            await connect("gateway://127.0.0.1:1/x", timeout=1, ssl_context=_any_context())
    assert "the other one was asked for 127.0.0.1:1/x" in str(raised.value.__cause__)


def test_an_unknown_way_is_refused(gateway: Gateway) -> None:
    with (
        dask.config.set({"headrace.connect": "teleport"}),
        pytest.raises(errors.InvalidRequest, match="must be auto, direct or proxied"),
    ):
        gateway.new_cluster()


def _peer(client: Client) -> str:
    comm: Any = client.scheduler_comm
    return comm.comm.peer_address


def _access(cluster: GatewayCluster[Literal[True]]) -> Any:
    context: Any = cluster.security.get_connection_args("client")["ssl_context"]
    return context.access


def _any_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _view(shown: Any) -> str:
    return shown._repr_html_()
