"""Services, control plane and Envoy on TCP, each proving itself to the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.conftest import replace
from tests.proxy.fake_envoy import FakeEnvoy
from tests.proxy.fake_services import FakeServices
from tests.proxy.running_proxy import RunningProxy

from headrace_chassis.tls.certificates import Authority

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
def services_authority() -> Authority:
    """Who vouches for headrace's services."""
    return Authority.create("services", timedelta(hours=1))


@pytest.fixture
def tls_settings(
    settings: dict[str, str], services_authority: Authority, directory: Path, held_address: Callable[[], str]
) -> dict[str, str]:
    """Settings with everything that Envoy calls on TCP."""
    files = ("tls_certificate_file", "tls_key_file", "tls_ca_file")
    for name, content in zip(files, _pems(services_authority, timedelta(hours=1)), strict=True):
        (directory / name).write_bytes(content)
    addresses = {
        "xds_listen": held_address(),
        "controller_target": held_address().replace("127.0.0.1", "localhost"),
    }
    return settings | addresses | {name: str(directory / name) for name in files}


@pytest.fixture
async def tls_proxy(idle_proxy: RunningProxy, controller: FakeRoutes, tls_settings: dict[str, str]) -> RunningProxy:
    await idle_proxy.start(**tls_settings)
    return idle_proxy


async def test_routes_and_calls_pass(
    tls_proxy: RunningProxy,
    controller: FakeRoutes,
    tls_settings: dict[str, str],
    authority: Authority,
    eventually: Eventually,
) -> None:
    version = controller.set("c1", "127.0.0.1:9")
    await eventually(lambda: controller.acknowledged == version)
    services = FakeServices(tls_settings["controller_target"])
    await services.start(_credentials(tls_settings))
    async with grpc.aio.secure_channel(tls_proxy.public, grpc.ssl_channel_credentials(authority.cert_pem)) as channel:
        echo = channel.unary_unary("/headrace.v1.ClusterService/Echo")
        assert await echo(b"hello", timeout=30) == b"hello"
    await services.stop()


async def test_calls_pass_when_certificate_and_authority_of_the_start_have_expired(
    idle_proxy: RunningProxy,
    controller: FakeRoutes,
    tls_settings: dict[str, str],
    authority: Authority,
    eventually: Eventually,
) -> None:
    """Envoy, which runs on, connects anew: to a service, and to a control plane that was started again."""
    short = timedelta(seconds=5)
    first = Authority.create("services, first", short)
    _replace(tls_settings, first, short)
    idle_proxy.awaits_routes = False  # where all is slow, the certificate has expired before they come
    await idle_proxy.start(**tls_settings)
    _replace(tls_settings, Authority.create("services, later", timedelta(hours=1)), timedelta(hours=1))
    await eventually(lambda: datetime.now(UTC) > first.expire_time)
    services = FakeServices(tls_settings["controller_target"])
    await services.start(_credentials(tls_settings))
    async with grpc.aio.secure_channel(idle_proxy.public, grpc.ssl_channel_credentials(authority.cert_pem)) as channel:
        echo = channel.unary_unary("/headrace.v1.ClusterService/Echo")
        assert await echo(b"hello", timeout=30) == b"hello"
    await services.stop()
    await idle_proxy.stop()
    await idle_proxy.start()
    version = controller.set("c1", "127.0.0.1:9")
    # After failures Envoy may let half a minute pass before it connects again.
    await eventually(lambda: controller.acknowledged == version, within=90)


@pytest.mark.parametrize("how", ["plain", "without a certificate"])
async def test_nobody_else_reads_the_routes(
    tls_proxy: RunningProxy, tls_settings: dict[str, str], services_authority: Authority, how: str
) -> None:
    address = tls_settings["xds_listen"]
    credentials = grpc.ssl_channel_credentials(services_authority.cert_pem)
    stranger = grpc.aio.insecure_channel(address) if how == "plain" else grpc.aio.secure_channel(address, credentials)
    async with stranger as channel:
        envoy = FakeEnvoy("stranger", channel)
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await envoy.connect_and_take()


def _credentials(settings: dict[str, str]) -> grpc.ServerCredentials:
    key, certificate, ca = (Path(settings[f"tls_{name}_file"]).read_bytes() for name in ("key", "certificate", "ca"))
    return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)


def _pems(services_authority: Authority, lifetime: timedelta) -> tuple[bytes, bytes, bytes]:
    """Certificate and key of all services, and their authority."""
    leaf = services_authority.issue("s", lifetime, dns_names=("localhost",), ip_addresses=("127.0.0.1",))
    return leaf.cert_pem, leaf.key_pem, services_authority.cert_pem


def _replace(settings: dict[str, str], services_authority: Authority, lifetime: timedelta) -> None:
    files = (settings[f"tls_{name}_file"] for name in ("certificate", "key", "ca"))
    for file, content in zip(files, _pems(services_authority, lifetime), strict=True):
        replace(Path(file), content)
