"""All metrics of the proxy."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ROUTES = Gauge("headrace_proxy_routes", "Clusters that Envoy is to reach.")
NODES = Gauge("headrace_proxy_nodes", "Envoys connected.")
REFUSALS = Counter("headrace_proxy_refusals_total", "Responses that an Envoy refused in part or whole.")
ACKNOWLEDGE_SECONDS = Histogram(
    "headrace_proxy_acknowledge_seconds",
    "From a change of the routes until all Envoys have it in use.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)
CONTROLLER_CONNECTED = Gauge("headrace_proxy_controller_connected", "1 while the routes follow the controller.")
ENVOY_RESTARTS = Counter("headrace_proxy_envoy_restarts_total", "Times that Envoy ended by itself and was restarted.")
