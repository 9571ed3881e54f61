"""All metrics of the Kubernetes backend."""

from __future__ import annotations

from prometheus_client import Counter

REQUESTS = Counter(
    "headrace_kubernetes_requests",
    "Requests to the Kubernetes API server by verb, resource and status code; code is error where no answer came.",
    ["verb", "resource", "code"],
)
WATCH_RESTARTS = Counter(
    "headrace_kubernetes_watch_restarts",
    "Watches that were opened again, by resource and reason: end (the server closed it), expired and restored "
    "(everything was listed again), error.",
    ["resource", "reason"],
)
