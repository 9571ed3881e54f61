"""What the chassis measures, and the page that Prometheus reads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from headrace_chassis.addresses import host_port

RPC_SECONDS = Histogram(
    "headrace_rpc_seconds",
    "How long calls took, by method and status code; streams count when they end.",
    ["method", "code"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RPCS_IN_FLIGHT = Gauge("headrace_rpcs_in_flight", "Calls under way, by method.", ["method"])
HEALTHY = Gauge("headrace_healthy", "1 while the service's own check passes, else 0.")
LEASES_HELD = Gauge("headrace_leases_held", "Shards whose lease this replica holds.")
LEASE_TICK_FAILURES = Counter("headrace_lease_tick_failures", "Rounds of lease renewal that failed.")
KEY_REFRESH_FAILURES = Counter("headrace_key_refresh_failures", "Failed attempts to read the signing keys from auth.")

ROUTES_CONNECTED = Gauge("headrace_routes_connected", "1 while the controller's routes are being followed, else 0.")


@contextmanager
def metrics_page(address: str) -> Generator[None]:
    """Serves the metrics on ``host:port`` from a thread; an empty address serves none."""
    if not address:
        yield
        return
    host, port = host_port(address)
    server, thread = prometheus_client.start_http_server(port, host)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
