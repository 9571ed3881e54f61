"""What auth measures."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LOGINS = Counter("headrace_auth_logins", "Logins, by authenticator and outcome.", ["method", "outcome"])
ROUTES = Gauge("headrace_auth_routes", "Routes known to the authorization of dashboards.")
DECISIONS = Counter("headrace_auth_decisions", "Answers to Envoy's ext_authz, by HTTP status.", ["status"])
DECISION_SECONDS = Histogram(
    "headrace_auth_decision_seconds",
    "How long answers to Envoy's ext_authz took.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2),
)
