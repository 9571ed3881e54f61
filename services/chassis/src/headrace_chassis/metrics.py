"""Metrics of every service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RPC_SECONDS = Histogram(
    "headrace_rpc_seconds",
    "Duration of calls in seconds, by method and status code; a stream counts when it ends.",
    ["method", "code"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RPCS_IN_FLIGHT = Gauge("headrace_rpcs_in_flight", "Calls being served, by method.", ["method"])
HEALTHY = Gauge("headrace_healthy", "1 while the service's health check passes, else 0.")
LEASES_HELD = Gauge("headrace_leases_held", "Shards of which this replica holds the lease.")
LEASE_TICK_FAILURES = Counter("headrace_lease_tick_failures", "Failed rounds of lease renewal.")
KEY_REFRESH_FAILURES = Counter("headrace_key_refresh_failures", "Failed reads of the signing keys from auth.")

AUDIT_FAILURES = Counter("headrace_audit_failures", "Failed writes of the audit log, by place: file, store.", ["to"])
AUDIT_LOST = Counter("headrace_audit_lost", "Records that are not in the audit log, by place: file, store.", ["to"])
REDIS_SECONDS = Histogram(
    "headrace_redis_seconds",
    "Duration of scripts in Redis as their caller sees it, by script.",
    ["script"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
REDIS_FAILURES = Counter(
    "headrace_redis_failures", "Scripts that Redis did not answer as it should, by script.", ["script"]
)
REDIS_ERRORS = Counter(
    "headrace_redis_errors", "Errors of Redis and of connections to it, of scripts and of all other commands."
)

CERTIFICATE_BEGIN = Gauge(
    "headrace_certificate_begin_timestamp_seconds",
    "Begin of the validity of each certificate in use, in seconds since the epoch; 0 if it cannot be read.",
    ["certificate"],
)
CERTIFICATE_END = Gauge(
    "headrace_certificate_end_timestamp_seconds",
    "End of the validity of each certificate in use, in seconds since the epoch; 0 if it cannot be read. `service` and "
    "`services_authority` are those of calls between services; `public` and `inside` are served by Envoy.",
    ["certificate"],
)

ROUTES_CONNECTED = Gauge("headrace_routes_connected", "1 while the controller's routes are being followed, else 0.")
ROUTES_SET_ASIDE = Counter("headrace_routes_set_aside", "Routes that could not be read or used and were left out.")
