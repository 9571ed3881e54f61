"""All metrics of the proxy."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ROUTES = Gauge("headrace_proxy_routes", "Clusters that Envoy has an upstream for.")
NODES = Gauge("headrace_proxy_nodes", "Envoys connected.")
REJECTIONS = Counter("headrace_proxy_rejections_total", "Responses that an Envoy rejected in whole or in part.")
ACKNOWLEDGE_SECONDS = Histogram(
    "headrace_proxy_acknowledge_seconds",
    "Seconds from a change of the routes until all Envoys use it.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)
