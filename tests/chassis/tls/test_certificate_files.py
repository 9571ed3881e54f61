"""Certificates are renewed while a service runs: new connections get the new one, those that live stay."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, MutableSequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.chassis.running import running_service
from tests.chassis.tls.files import DAY, FAILED, health, issue, reading, write

from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.certificate_files import BadTlsFile
from headrace_chassis.tls.certificates import Authority
from headrace_chassis.tls.channels import open_channel


async def served(address: str) -> str:
    """Returns the certificate that a new connection is shown."""
    host, _, port = address.rpartition(":")
    return (await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))).strip()


@pytest.fixture
def files(directory: Path, authority: Authority) -> Path:
    write(directory / "tls", issue(authority), authority)
    return directory / "tls"


@pytest.fixture
async def service(settings: ServiceSettings, files: Path, addresses: list[str]) -> AsyncIterator[ServiceSettings]:
    """A running service with both listeners on TCP."""
    tcp = settings.model_copy(update={"listen": addresses[0], "internal_listen": addresses[1]})
    async with running_service(reading(tcp, files)) as running:
        yield running.settings


@pytest.mark.parametrize("listener", ["listen", "internal_listen"])
async def test_a_renewed_certificate_is_served_to_new_connections_and_old_ones_live_on(
    service: ServiceSettings, files: Path, authority: Authority, listener: str
) -> None:
    address: str = getattr(service, listener)
    async with open_channel(address, service) as channel:
        watch = health(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        renewed = issue(authority)
        write(files, renewed, authority)
        assert await served(address) == renewed.cert_pem.decode().strip()
        await health(channel).Check(health_pb2.HealthCheckRequest())
        assert not watch.done()


async def test_a_secret_that_is_swapped_by_symlink_is_taken_up(
    settings: ServiceSettings, directory: Path, authority: Authority, addresses: list[str]
) -> None:
    for name in ("first", "second"):
        write(directory / name, issue(authority), authority)
    current = directory / "current"
    current.symlink_to("first")
    service = reading(settings.model_copy(update={"listen": addresses[0]}), current)
    async with running_service(service):
        assert await served(service.listen) == (directory / "first" / "tls.crt").read_text().strip()
        (directory / "next").symlink_to("second")
        (directory / "next").rename(current)
        assert await served(service.listen) == (directory / "second" / "tls.crt").read_text().strip()


@pytest.mark.parametrize("broken", ["half a certificate", "another key", "no authority", "nothing"])
async def test_files_that_cannot_be_used_are_logged_once_and_the_old_stay(
    service: ServiceSettings, files: Path, authority: Authority, broken: str, logged: MutableSequence[Any]
) -> None:
    address = service.internal_listen
    before, renewed = await served(address), issue(authority)
    match broken:
        case "half a certificate":
            (files / "tls.crt").write_bytes(renewed.cert_pem[:200])
        case "another key":
            (files / "tls.key").write_bytes(renewed.key_pem)
        case "no authority":
            (files / "ca.crt").write_bytes(b"")
        case _:
            (files / "tls.key").unlink()
    for _ in range(3):
        assert await served(address) == before
    async with open_channel(address, reading(service, client_files(files, authority))) as channel:
        await health(channel).Check(health_pb2.HealthCheckRequest())
    [warning] = [line for line in logged if line["event"] == FAILED]
    assert warning["log_level"] == "warning"
    assert str(files) in warning["error"]

    write(files, renewed, authority)
    assert await served(address) == renewed.cert_pem.decode().strip()


def client_files(files: Path, authority: Authority) -> Path:
    """Files of another service, which nobody has broken."""
    directory = files.with_name("peer")
    write(directory, issue(authority), authority)
    return directory


async def test_a_new_authority_decides_who_is_let_in(
    service: ServiceSettings, files: Path, authority: Authority
) -> None:
    old = reading(service, client_files(files, authority))
    successor = Authority.create("ours, later", DAY)
    write(files, issue(successor), successor)
    async with open_channel(service.internal_listen, service) as channel:
        await health(channel).Check(health_pb2.HealthCheckRequest())
    stranger = old.model_copy(update={"tls_ca_file": service.tls_ca_file})
    async with open_channel(service.internal_listen, stranger) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(channel).Check(health_pb2.HealthCheckRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tls.key", None, "tls.key cannot be read: No such file"),
        ("tls.key", b"", "tls.key holds no private key in PEM without a password"),
        ("tls.crt", b"", "tls.crt holds no certificate in PEM"),
    ],
)
async def test_a_service_does_not_start_with_files_that_it_cannot_use(
    settings: ServiceSettings, files: Path, addresses: list[str], name: str, content: bytes | None, said: str
) -> None:
    (files / name).unlink() if content is None else (files / name).write_bytes(content)
    with pytest.raises(ExceptionGroup) as caught:
        async with running_service(reading(settings.model_copy(update={"listen": addresses[0]}), files)):
            pass
    assert caught.group_contains(BadTlsFile, match=said)
