"""Builds the proxy: the one place that constructs things."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from headrace.errors import GatewayServerError
from headrace_chassis.certificate_validity import Validity, of_chain, report
from headrace_chassis.server import App
from headrace_chassis.tls.channels import open_channel
from headrace_chassis.traces import spans_of_calls
from headrace_proxy.config import Settings
from headrace_proxy.routes.follower import RouteFollower
from headrace_proxy.routes.route_file import RouteFile
from headrace_proxy.routes.route_table import RouteTable
from headrace_proxy.state_directory import locked
from headrace_proxy.xds.ads import start_xds_server
from headrace_proxy.xds.distribution import Distribution
from headrace_proxy.xds.upstream import UpstreamTemplate

REDIAL_SIGNAL = signal.SIGUSR2
"""Says that an Envoy is about to end, and that another one takes new connections."""


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    follower: RouteFollower | None = None
    asked = False

    def redial() -> None:
        nonlocal asked
        if follower is None:
            asked = True
        else:
            follower.redial()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(REDIAL_SIGNAL, redial)  # before others find this process: the signal would end it
    stack.callback(loop.remove_signal_handler, REDIAL_SIGNAL)
    stack.enter_context(locked(settings.state_directory))
    for name, (certificate, _) in settings.certificates.items():
        report(name.removesuffix("_certificate"), partial(_validity, certificate))
    distribution = Distribution()
    template = UpstreamTemplate.create(settings.sni_suffix, settings.cluster_connections, settings.destinations)
    table = RouteTable(template, RouteFile(settings.state_directory))
    if (last := table.restore()) is not None:
        distribution.publish(last, restored=True)
    server = await start_xds_server(settings, distribution)
    stack.push_async_callback(server.stop, None)
    channel = await stack.enter_async_context(open_channel(settings.route_address, settings, spans_of_calls(settings)))
    follower = RouteFollower(channel, settings.node, table, distribution)
    if asked:
        follower.redial()

    async def check() -> None:
        if distribution.published is None:
            raise GatewayServerError("no routes are known yet: waiting for the controller")

    return App(public=(), check=check, tasks=[follower.run, table.save])


def _validity(certificate: Path) -> Validity:
    """When a certificate is valid that Envoy reads itself, as soon as its directory changes."""
    return of_chain(certificate.read_bytes())
