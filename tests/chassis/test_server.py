"""Start, health, drain and stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.chassis.running import Running, running_service
from tests.conftest import Eventually

from headrace import errors
from headrace._wire.status import from_rpc_error
from headrace.v1 import auth_service_pb2, cluster_service_pb2
from headrace_chassis import health as health_module
from headrace_chassis.readiness import READY_FD
from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.certificates import Authority
from headrace_chassis.tls.channels import open_channel
from headrace_chassis.tls.listener import AddressInUse

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DAY = timedelta(days=1)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    answer = await check(health_pb2.HealthCheckRequest(service=service).SerializeToString(), timeout=30)
    return health_pb2.HealthCheckResponse.FromString(answer).status


async def test_each_service_is_serving_on_both_listeners_while_the_check_passes(
    running: Running, eventually: Eventually
) -> None:
    async def serving() -> bool:
        return await health(running.channel, "headrace.v1.AuthService") == SERVING

    await eventually(serving)
    assert await health(running.internal_channel, "headrace.internal.v1.RouteService") == SERVING


async def test_health_follows_the_check(
    running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.02)

    async def has(status: int) -> bool:
        return await health(running.channel) == status

    await eventually(lambda: has(SERVING))
    running.fake.failing.append("the store is away")
    await eventually(lambda: has(NOT_SERVING))
    running.fake.failing.clear()
    await eventually(lambda: has(SERVING))


async def test_a_failure_that_stays_is_logged_once(
    settings: ServiceSettings,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(health_module, "FIRST_CHECK_SECONDS", 0.001)
    checks = 0

    async def check() -> None:
        nonlocal checks
        checks += 1
        raise RuntimeError("the store is away" if checks < 50 else "the keys are away")

    health = health_module.Health(check)
    running = asyncio.create_task(health.run())
    await eventually(lambda: checks > 100)
    running.cancel()
    printed = capsys.readouterr().out
    assert printed.count("the store is away") == printed.count("the keys are away") == 1


async def test_reflection_lists_the_services_of_the_listener(running: Running) -> None:
    reflect = running.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await reflect(iter([request.SerializeToString()])).read()
    assert isinstance(answer, bytes)
    services = reflection_pb2.ServerReflectionResponse.FromString(answer).list_services_response.service
    assert "headrace.v1.ClusterService" in {service.name for service in services}


async def test_readiness_is_written_once_the_check_has_passed(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setenv(READY_FD, str(writing))
    async with running_service(settings):
        with os.fdopen(reading) as pipe:
            assert await asyncio.to_thread(pipe.read) == "ready\n"


async def test_sigterm_ends_streams_with_draining_and_the_service_in_order(running: Running) -> None:
    call = running.clusters.WatchClusters(cluster_service_pb2.WatchClustersRequest(), metadata=running.bearer())
    await call.read()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert isinstance(from_rpc_error(caught.value), errors.Draining)
    await asyncio.wait_for(running.task, 30)
    assert running.fake.clusters.ended.is_set()


async def test_a_stream_that_is_being_written_ends_with_draining_once_it_is(
    running: Running, eventually: Eventually, capsys: pytest.CaptureFixture[str]
) -> None:
    running.fake.clusters.suffix = "x" * (1 << 20)  # more than is sent before it is read
    call = running.clusters.WatchClusters(cluster_service_pb2.WatchClustersRequest(), metadata=running.bearer())
    await running.fake.clusters.writes.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await eventually(lambda: "draining" in capsys.readouterr().out)
    assert isinstance(await call.read(), cluster_service_pb2.WatchClustersResponse)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert isinstance(from_rpc_error(caught.value), errors.Draining)


async def test_calls_under_way_are_finished_while_draining(running: Running) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        entered.set()
        await leave.wait()

    running.fake.auth.behaviour = slow
    call = asyncio.ensure_future(running.auth.Login(auth_service_pb2.LoginRequest(), timeout=60))
    await entered.wait()
    watch = running.clusters.WatchClusters(cluster_service_pb2.WatchClustersRequest(), metadata=running.bearer())
    await watch.read()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(grpc.aio.AioRpcError):
        await watch.read()  # it ends when the drain starts
    leave.set()
    assert isinstance(await call, auth_service_pb2.LoginResponse)
    await asyncio.wait_for(running.task, 30)


async def test_a_second_start_on_the_same_socket_fails_and_harms_nobody(running: Running) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with running_service(running.settings):
            pass
    assert caught.group_contains(AddressInUse, match="another process listens there; stop it, or choose another path")
    assert await health(running.channel) == SERVING


async def test_a_socket_left_behind_by_a_killed_process_is_replaced(settings: ServiceSettings) -> None:
    path = settings.listen.removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    async with running_service(settings) as running:
        assert await health(running.channel) in {SERVING, NOT_SERVING}


async def test_a_second_start_on_the_same_port_fails_clearly(settings: ServiceSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = settings.model_copy(update={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        with pytest.raises(ExceptionGroup) as caught:
            async with running_service(busy):
                pass
    assert caught.group_contains(AddressInUse, match="cannot listen on 127.0.0.1:")


async def test_sockets_are_for_their_owner_only(running: Running) -> None:
    for address in (running.settings.listen, running.settings.internal_listen):
        assert mode_of(Path(address.removeprefix("unix:"))) == 0o600


async def test_a_kubelet_without_tls_learns_health_and_nothing_else(
    settings: ServiceSettings, directory: Path, addresses: list[str], eventually: Eventually
) -> None:
    listen, address = addresses
    service = certified(settings, directory, "service", Authority.create("ours", DAY))
    async with (
        running_service(service.model_copy(update={"listen": listen, "health_listen": address})) as running,
        grpc.aio.insecure_channel(address) as probe,
    ):

        async def ready() -> bool:
            return await health(probe) == SERVING

        await eventually(ready)
        assert await health(probe, "headrace.v1.AuthService") == SERVING
        watch = probe.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=30)
        login = probe.unary_unary("/headrace.v1.AuthService/Login")(b"", timeout=30)
        for call in (watch.read(), login):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        running.fake.failing.append("the store is away")
        await eventually(lambda: _not_ready(probe))
        assert await health(probe, "live") == SERVING, "a restart does not bring the store back"


async def _not_ready(probe: grpc.aio.Channel) -> bool:
    return await health(probe) == NOT_SERVING


async def test_after_sigterm_calls_are_served_until_load_balancers_know(
    settings: ServiceSettings, addresses: list[str], eventually: Eventually
) -> None:
    address = addresses[0]
    patient = settings.model_copy(update={"health_listen": address, "shutdown_delay_seconds": 600})
    async with running_service(patient) as running, grpc.aio.insecure_channel(address) as probe:
        watch = running.clusters.WatchClusters(cluster_service_pb2.WatchClustersRequest(), metadata=running.bearer())
        await watch.read()
        await eventually(lambda: _ready(probe))
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: _not_ready(probe))
        assert await health(probe, "live") == SERVING
        await running.auth.Login(auth_service_pb2.LoginRequest(), timeout=60)
        again = running.clusters.WatchClusters(cluster_service_pb2.WatchClustersRequest(), metadata=running.bearer())
        await again.read()
        assert not watch.done()


async def test_the_drain_follows_the_delay(settings: ServiceSettings) -> None:
    async with running_service(settings.model_copy(update={"shutdown_delay_seconds": 0.05})) as running:
        call = running.clusters.WatchClusters(cluster_service_pb2.WatchClustersRequest(), metadata=running.bearer())
        await call.read()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert isinstance(from_rpc_error(caught.value), errors.Draining)
        await asyncio.wait_for(running.task, 30)


async def _ready(probe: grpc.aio.Channel) -> bool:
    return await health(probe) == SERVING


def certified(settings: ServiceSettings, directory: Path, name: str, authority: Authority) -> ServiceSettings:
    leaf = authority.issue(name, DAY, ip_addresses=["127.0.0.1"])
    files = {"certificate": leaf.cert_pem, "key": leaf.key_pem, "ca": authority.cert_pem}
    for kind, content in files.items():
        (directory / f"{name}-{kind}.pem").write_bytes(content)
    return settings.model_copy(update={f"tls_{kind}_file": directory / f"{name}-{kind}.pem" for kind in files})


async def test_the_internal_listener_on_tcp_wants_a_certificate_of_our_authority(
    settings: ServiceSettings, directory: Path, addresses: list[str]
) -> None:
    authority, stranger = Authority.create("ours", DAY), Authority.create("theirs", DAY)
    address = addresses[0]
    service = certified(settings, directory, "service", authority).model_copy(update={"internal_listen": address})
    async with running_service(service):
        async with open_channel(address, certified(settings, directory, "peer", authority)) as channel:
            assert await health(channel) in {SERVING, NOT_SERVING}
        theirs = certified(settings, directory, "stranger", stranger)
        pretender = theirs.model_copy(update={"tls_ca_file": service.tls_ca_file})
        async with open_channel(address, pretender) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
