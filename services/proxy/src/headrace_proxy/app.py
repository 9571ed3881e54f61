"""Builds the proxy: the one place that constructs things."""

from __future__ import annotations

from contextlib import AsyncExitStack

from headrace.errors import GatewayServerError
from headrace_chassis.server import App, Task
from headrace_chassis.tls.channels import open_channel
from headrace_proxy.config import Settings
from headrace_proxy.envoy.bootstrap import bootstrap
from headrace_proxy.envoy_keeper import EnvoyKeeper
from headrace_proxy.open_files import connections_allowed
from headrace_proxy.routes.route_book import RouteBook
from headrace_proxy.routes.route_file import RouteFile
from headrace_proxy.routes.route_reader import RouteReader
from headrace_proxy.state_directory import locked, write_public_certificate
from headrace_proxy.xds.ads import DeltaDiscovery
from headrace_proxy.xds.distribution import Distribution
from headrace_proxy.xds.server import start_xds_server
from headrace_proxy.xds.snapshot import Shape


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Starts the control plane, and Envoy where that is this proxy's task."""
    stack.enter_context(locked(settings.state_directory))
    distribution = Distribution()
    shape = Shape.of(settings.sni_suffix, settings.cluster_connections)
    book = RouteBook(shape, RouteFile(settings.state_directory))
    if (last := book.restore()) is not None:
        distribution.publish(last, remembered=True)
    server = await start_xds_server(settings, DeltaDiscovery(distribution))
    stack.push_async_callback(server.stop, None)
    channel = await stack.enter_async_context(open_channel(settings.route_address, settings))
    reader = RouteReader(channel, book, distribution, settings.node)
    tasks: list[Task] = [reader.run, book.save]
    keeper = await _embedded_envoy(settings, stack) if settings.envoy == "embedded" else None
    if keeper is not None:
        tasks.append(keeper.run)

    async def check() -> None:
        if keeper is not None:
            await keeper.check()
        if distribution.published is None:
            raise GatewayServerError("the routes are not known yet: the controller does not answer")

    return App(public=(), check=check, tasks=tasks)


async def _embedded_envoy(settings: Settings, stack: AsyncExitStack) -> EnvoyKeeper:
    write_public_certificate(settings)
    settings = settings.model_copy(update={"max_connections": connections_allowed(settings.max_connections)})
    keeper = EnvoyKeeper(
        bootstrap(settings),
        state_directory=settings.state_directory,
        public_listen=settings.public_listen,
        concurrency=settings.envoy_concurrency,
    )
    stack.push_async_callback(keeper.close)
    await keeper.open()
    return keeper
