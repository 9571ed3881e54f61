"""The last hops of `headrace doctor`: the scheduler of a cluster, through the proxy and directly."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace._wire.diagnosis import Hop
from headrace.errors import HeadraceError
from headrace.v1 import cluster_pb2, cluster_service_pb2

HOP_SECONDS = 3.0


async def reach(connection: Connection, cluster: str) -> AsyncIterator[Hop]:
    """Make TLS handshakes with the scheduler of a cluster, by default the newest that runs."""
    try:
        name = await calls.resolve(connection, cluster) if cluster else await _newest(connection)
        if not name:
            yield Hop("scheduler", works=True, message="you have no running cluster to reach")
            return
        access = await calls.connect(connection, name)
        context = await asyncio.to_thread(_context, access)
    except (HeadraceError, ssl.SSLError) as error:
        yield Hop("scheduler", works=False, message=str(error))
        return
    proxy = connection.target.proxy_address
    yield await _shake_hands("proxied", name, proxy, access.server_name, context)
    if access.direct_address:
        yield _optional(await _shake_hands("direct", name, access.direct_address, access.server_name, context))


async def _newest(connection: Connection) -> str:
    running = calls.cluster_filter(phases=[cluster_pb2.PHASE_RUNNING])
    request = cluster_service_pb2.ListClustersRequest(filter=running, page_size=1)
    page = await connection.call(connection.clusters.ListClusters, request, doing="listing clusters")
    return page.clusters[0].name if page.clusters else ""


def _context(access: cluster_service_pb2.ConnectClusterResponse) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.ca_pem)
    context.check_hostname = False  # like Dask: the cluster has a certificate authority of its own
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "client.pem"
        file.touch(mode=0o600)
        file.write_text(access.certificate_pem + access.private_key_pem)
        context.load_cert_chain(file)
    return context


async def _shake_hands(how: str, name: str, address: str, server_name: str, context: ssl.SSLContext) -> Hop:
    parts = urlsplit(address)
    what = f"the scheduler of {name.removeprefix('clusters/')} at {parts.netloc}"
    try:
        async with asyncio.timeout(HOP_SECONDS):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port, ssl=context, server_hostname=server_name
            )
    except TimeoutError:
        return Hop(how, works=False, message=f"{what} does not answer within {HOP_SECONDS:.0f} s")
    except OSError as error:
        return Hop(how, works=False, message=f"{what} cannot be reached: {error}")
    writer.transport.abort()
    return Hop(how, works=True, message=f"{what} answers")


def _optional(hop: Hop) -> Hop:
    """Return the hop as working: without a direct connection, the proxy serves."""
    if hop.works:
        return hop
    return Hop(hop.name, works=True, message=f"{hop.message}; clients go through the proxy")
