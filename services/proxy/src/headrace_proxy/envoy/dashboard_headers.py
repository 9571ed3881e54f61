"""Headers of dashboards' answers: what a browser lets their pages do. The pages are code of the cluster's owner."""

from __future__ import annotations

from headrace_proxy.config import Settings
from headrace_proxy.envoy.parts import Config

# Without allow-same-origin, each page has an origin that is like no other.
_SANDBOX = "sandbox allow-scripts allow-forms allow-downloads allow-popups allow-popups-to-escape-sandbox; "
# What would widen what a page may do, speak for the whole host, or ask the visitor for a password in its name.
_REMOVED = (
    "set-cookie",
    "service-worker-allowed",
    "clear-site-data",
    "strict-transport-security",
    "public-key-pins",
    "public-key-pins-report-only",
    "expect-ct",
    "alt-svc",
    "nel",
    "report-to",
    "reporting-endpoints",
    "refresh",
    "www-authenticate",
    "origin-agent-cluster",
    "document-domain",
    "content-security-policy-report-only",
    "x-frame-options",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "timing-allow-origin",
)


def dashboard_headers(settings: Settings, *, sandboxed: bool) -> Config:
    """What a route of dashboards does with the headers of answers."""
    policy = f"{_SANDBOX if sandboxed else ''}frame-ancestors {settings.dashboard_frame_ancestors}"
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
    }
    return {
        "response_headers_to_remove": list(_REMOVED),
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    }
