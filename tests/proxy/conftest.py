"""A proxy with a real Envoy between fakes of its neighbours."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from tests.fake_routes import FakeRoutes
from tests.held_port import held_port
from tests.proxy.browser import Browser
from tests.proxy.fake_authz import FakeAuthz
from tests.proxy.fake_dashboard import FakeDashboard
from tests.proxy.fake_scheduler import FakeScheduler
from tests.proxy.fake_services import FakeServices
from tests.proxy.running_proxy import RunningProxy, write_settings
from tests.proxy.warm_proxy import WarmProxy

from headrace_chassis.destinations import Destination, Destinations
from headrace_chassis.tls.certificates import Authority

SUFFIX = "clusters.headrace.internal"
LOOPBACK = [{"network": "127.0.0.0/8"}]
ANYWHERE = Destinations.of([Destination.model_validate(each) for each in LOOPBACK], ())


def replace(path: Path, content: bytes) -> None:
    """Move new content into the place of a file."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="hrp-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The authority of the public port."""
    return Authority.create("test gateway", timedelta(hours=1))


@pytest.fixture
def public_port() -> Iterator[int]:
    """The public port. Nobody else is given it, also while no Envoy listens."""
    with held_port() as held:
        yield held.getsockname()[1]


@pytest.fixture
def held_address() -> Iterator[Callable[[], str]]:
    """Gives addresses to listen on. Nobody else is given their ports, also while nobody listens."""
    with ExitStack() as stack:

        def hold() -> str:
            return "{}:{}".format(*stack.enter_context(held_port()).getsockname())

        yield hold


@pytest.fixture
def settings(directory: Path, authority: Authority, public_port: int) -> dict[str, str]:
    """Settings of a proxy on a free port, with its certificate and key written."""
    return write_settings(directory, authority, public_port)


@pytest.fixture
async def controller(settings: dict[str, str]) -> AsyncIterator[FakeRoutes]:
    """Where the routes come from."""
    controller = FakeRoutes(settings["route_address"])
    await controller.start()
    yield controller
    await controller.stop()


@pytest.fixture(scope="session")
def warm_proxy() -> Iterator[WarmProxy]:
    """What proxies are forked from."""
    warm = WarmProxy()
    yield warm
    warm.close()


@pytest.fixture
async def idle_proxy(settings: dict[str, str], warm_proxy: WarmProxy) -> AsyncIterator[RunningProxy]:
    """A proxy that has not been started."""
    proxy = RunningProxy(settings, warm_proxy)
    yield proxy
    await proxy.end()


@pytest.fixture
async def proxy(idle_proxy: RunningProxy, controller: FakeRoutes) -> RunningProxy:
    """A proxy that is ready."""
    await idle_proxy.start()
    return idle_proxy


@pytest.fixture
async def start_scheduler(directory: Path) -> AsyncIterator[Callable[[str], Awaitable[FakeScheduler]]]:
    """Starts schedulers."""
    schedulers: list[FakeScheduler] = []

    async def start(name: str) -> FakeScheduler:
        scheduler = FakeScheduler(name, directory)
        schedulers.append(scheduler)
        await scheduler.start()
        return scheduler

    yield start
    for scheduler in schedulers:
        await scheduler.stop()


@pytest.fixture
async def authz(settings: dict[str, str]) -> AsyncIterator[FakeAuthz]:
    """Decides who may see which dashboard."""
    authz = FakeAuthz(settings["authz_target"])
    await authz.start()
    yield authz
    await authz.stop()


@pytest.fixture
async def services(settings: dict[str, str]) -> AsyncIterator[dict[str, FakeServices]]:
    """auth and the controller, as callers reach them."""
    services = {name: FakeServices(settings[f"{name}_target"]) for name in ("auth", "controller")}
    for service in services.values():
        await service.start()
    yield services
    for service in services.values():
        await service.stop()


@pytest.fixture
async def channel(proxy: RunningProxy, authority: Authority) -> AsyncIterator[grpc.aio.Channel]:
    """A client's channel to the public port."""
    credentials = grpc.ssl_channel_credentials(authority.cert_pem)
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.secure_channel(proxy.public, credentials, options=options) as channel:
        yield channel


@pytest.fixture
def browser_of(settings: dict[str, str], authority: Authority) -> Browser:
    """A browser that trusts the public port, of a proxy that is still to be started."""
    return Browser(settings["public_listen"], ssl.create_default_context(cadata=authority.cert_pem.decode()))


@pytest.fixture
def browser(proxy: RunningProxy, browser_of: Browser) -> Browser:
    """A browser that trusts the public port."""
    return browser_of


@pytest.fixture
async def dashboard(authz: FakeAuthz) -> AsyncIterator[FakeDashboard]:
    """The dashboard of cluster `ca1`, open to callers with the token."""
    dashboard = FakeDashboard()
    dashboard.start()
    authz.dashboards["ca1"] = dashboard.address
    yield dashboard
    await dashboard.stop()
