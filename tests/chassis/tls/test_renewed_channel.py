"""Certificates are renewed while a service runs: its calls to other services follow the files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableSequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.chassis.running import running_service
from tests.chassis.tls.files import DAY, FAILED, health, issue, reading, write
from tests.conftest import Eventually

from headrace_chassis.route_watch import RouteWatch
from headrace_chassis.routes import RouteChange
from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.certificate_files import BadTlsFile, CertificateFiles
from headrace_chassis.tls.certificates import Authority
from headrace_chassis.tls.channels import open_channel
from headrace_chassis.tls.renewed_channel import RenewedChannel

REQUEST = health_pb2.HealthCheckRequest()


@dataclass
class Opened:
    """A channel to the service, and those of gRPC's own that it is made of."""

    files: CertificateFiles
    address: str
    channels: list[grpc.aio.Channel] = field(default_factory=list[grpc.aio.Channel])

    def channel(self) -> RenewedChannel:
        return RenewedChannel(self.files, self._open)

    def _open(self, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
        self.channels.append(grpc.aio.secure_channel(self.address, credentials))
        return self.channels[-1]


@pytest.fixture
def service(settings: ServiceSettings, directory: Path, authority: Authority, addresses: list[str]) -> ServiceSettings:
    """Settings of a service that lets nobody in without a certificate."""
    write(directory / "service", issue(authority), authority)
    return reading(settings.model_copy(update={"internal_listen": addresses[0]}), directory / "service")


@pytest.fixture
def files(directory: Path, authority: Authority) -> Path:
    """The directory of the files of the caller."""
    write(directory / "caller", issue(authority), authority)
    return directory / "caller"


@pytest.fixture
async def opened(service: ServiceSettings, files: Path) -> AsyncIterator[Opened]:
    """Of a service that runs."""
    async with running_service(service):
        use = CertificateFiles(files / "tls.crt", files / "tls.key", files / "ca.crt", "calls")
        yield Opened(use, service.internal_listen)


async def test_calls_and_watches_go_on_when_the_certificate_of_the_start_has_expired(
    service: ServiceSettings, files: Path, authority: Authority, eventually: Eventually
) -> None:
    routes: list[RouteChange] = []
    async with running_service(service):
        first = authority.issue("caller", timedelta(seconds=6))
        write(files, first, authority)
        channel = open_channel(service.internal_listen, reading(service, files))
        check = health(channel).Check
        await check(REQUEST)
        watching = asyncio.create_task(RouteWatch(channel, "r", routes.append).run())
        await eventually(lambda: routes)
    write(files, issue(authority), authority)
    await eventually(lambda: datetime.now(UTC) > first.expire_time)
    routes.clear()
    async with running_service(service):
        await check(REQUEST, wait_for_ready=True, timeout=30)
        await eventually(lambda: routes)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await channel.close()


async def test_an_expired_certificate_is_refused(service: ServiceSettings, files: Path, authority: Authority) -> None:
    """What the test before relies on."""
    write(files, authority.issue("caller", timedelta(seconds=-1)), authority)
    async with (
        running_service(service),
        open_channel(service.internal_listen, reading(service, files)) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(channel).Check(REQUEST)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_authority_is_followed(
    service: ServiceSettings, directory: Path, files: Path, authority: Authority
) -> None:
    async with open_channel(service.internal_listen, reading(service, files)) as channel:
        check = health(channel).Check
        async with running_service(service):
            await check(REQUEST)
        successor = Authority.create("ours, later", DAY)
        for each in (directory / "service", files):
            write(each, issue(successor), successor)
        async with running_service(service):
            await check(REQUEST, wait_for_ready=True, timeout=30)


async def test_a_stream_lives_on_and_its_channel_is_closed_after_it(
    opened: Opened, files: Path, authority: Authority, eventually: Eventually
) -> None:
    async with opened.channel() as channel:
        watch = health(channel).Watch(REQUEST)
        await watch.read()
        write(files, issue(authority), authority)
        await health(channel).Check(REQUEST)
        before, now = opened.channels
        assert before.get_state() is grpc.ChannelConnectivity.READY
        assert not watch.done()
        watch.cancel()
        await eventually(lambda: before.get_state() is grpc.ChannelConnectivity.SHUTDOWN)
        await health(channel).Check(REQUEST)
        assert opened.channels == [before, now]


async def test_nothing_is_open_after_the_end(opened: Opened, files: Path, authority: Authority) -> None:
    channel = opened.channel()
    watches: list[Any] = []
    for _ in range(2):
        watches.append(health(channel).Watch(REQUEST))
        await watches[-1].read()
        write(files, issue(authority), authority)
    await channel.close()
    assert [each.get_state() for each in opened.channels] == [grpc.ChannelConnectivity.SHUTDOWN] * 2
    assert all(watch.done() for watch in watches)


async def test_files_that_cannot_be_used_are_logged_once_and_the_old_stay(
    opened: Opened, files: Path, authority: Authority, logged: MutableSequence[Any]
) -> None:
    async with opened.channel() as channel:
        renewed = issue(authority)
        (files / "tls.crt").write_bytes(renewed.cert_pem)
        for _ in range(3):
            await health(channel).Check(REQUEST)
        [warning] = [line for line in logged if line["event"] == FAILED]
        assert str(files) in warning["error"]
        assert warning["use"] == "calls"
        (files / "tls.key").write_bytes(renewed.key_pem)
        await health(channel).Check(REQUEST)
        assert len(opened.channels) == 2


async def test_a_service_does_not_start_with_files_that_it_cannot_use(service: ServiceSettings, files: Path) -> None:
    (files / "ca.crt").unlink()
    with pytest.raises(BadTlsFile, match=r"ca.crt cannot be read: No such file"):
        open_channel(service.internal_listen, reading(service, files))
