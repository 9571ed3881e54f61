"""Metrics of auth."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LOGINS = Counter("headrace_auth_logins", "Logins, by method and outcome.", ["method", "outcome"])
LOGINS_BUSY = Counter("headrace_auth_logins_busy", "Logins that were refused because too many waited for their check.")
ROUTES = Gauge("headrace_auth_routes", "Routes known to the authorization of dashboards.")
DECISIONS = Counter("headrace_auth_decisions", "Answers to Envoy's ext_authz, by HTTP status.", ["status"])
POLICY_REFUSED = Gauge("headrace_auth_policy_refused", "1 while the policy file's roles cannot be read, else 0.")
