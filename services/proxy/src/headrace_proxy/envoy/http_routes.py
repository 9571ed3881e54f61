"""Where each path of the public port goes."""

from __future__ import annotations

import base64
import re

from headrace_proxy.config import HttpService, Settings
from headrace_proxy.envoy.dashboard_headers import dashboard_headers
from headrace_proxy.envoy.parts import Config, typed
from headrace_proxy.envoy.services import AUTH, CONTROLLER, DASHBOARDS, http_upstream

EXT_AUTHZ = "envoy.filters.http.ext_authz"
DECISIONS = "envoy.filters.http.lua"
CLUSTER_PATH = "/clusters/[a-z0-9-]+"
# The path of a page, up to where the dashboard's own path begins. The session in it is for auth alone.
PREFIX = f"{CLUSTER_PATH}/(~[^/]*/)?"
# Without RouteService on purpose: it is for headrace's own services and served on an internal listener.
GRPC_SERVICES = {
    "headrace.v1.AuditService": CONTROLLER,
    "headrace.v1.AuthService": AUTH,
    "headrace.v1.ClusterService": CONTROLLER,
    "headrace.v1.CullingService": CONTROLLER,
    "headrace.v1.LimitsService": CONTROLLER,
    "headrace.v1.OptionsService": CONTROLLER,
    "headrace.v1.PolicyService": CONTROLLER,
    "headrace.v1.UsageService": CONTROLLER,
    "headrace.internal.v1.AgentService": CONTROLLER,
    "grpc.health.v1.Health": CONTROLLER,
    "grpc.reflection.v1.ServerReflection": CONTROLLER,
    "grpc.reflection.v1alpha.ServerReflection": CONTROLLER,
}
# gRPC and gRPC-Web: the route is chosen before a filter translates the one into the other.
# Several content types, or another method, are no call: the service would end the request without an answer.
_GRPC = [
    {"name": ":method", "string_match": {"exact": "POST"}},
    {"name": "content-type", "string_match": {"safe_regex": {"regex": "application/grpc[^,]*"}}},
]
NOT_FOUND = """There is nothing at this path. This is a headrace gateway. It serves
  the gRPC services of headrace.v1, used by `headrace.Gateway(address)` in Python and by the command `headrace`;
  the dashboards of Dask clusters: /clusters/<cluster id>/status
"""


def virtual_hosts(settings: Settings) -> list[Config]:
    """All routes of the public port. None of them depends on the clusters that exist."""
    gateway: Config = {
        "name": "public",
        "domains": ["*"],
        "routes": [
            _dashboard(settings.base_path, dashboard_headers(settings, sandboxed=True)),
            _dashboard_root(),
            *(_grpc(name, upstream) for name, upstream in GRPC_SERVICES.items()),
            *(_http(service) for service in settings.http_services),
            _not_found(),
        ],
    }
    if not settings.dashboard_domain:
        return [gateway]
    own_hosts: Config = {
        "name": "dashboards",
        "domains": [f"*.{settings.dashboard_domain}"],
        "routes": [
            _dashboard(settings.base_path, dashboard_headers(settings, sandboxed=False)),
            _dashboard_root(),
            _not_found(),
        ],
    }
    return [gateway, own_hosts]


def _dashboard(base_path: str, headers: Config) -> Config:
    # Whether a websocket may pass is decided before a filter removes the base path.
    # A dashboard runs code of the cluster's owner: it gets no credentials of its visitors. ext_authz reads the request
    # before these headers are removed, and has checked the origin. "referer" has the session in its path.
    return {
        "match": {"safe_regex": {"regex": f"({re.escape(base_path)})?{CLUSTER_PATH}/.*"}},
        "route": {
            "cluster": DASHBOARDS,
            "regex_rewrite": {"pattern": {"regex": f"^{PREFIX}"}, "substitution": "/"},
            "timeout": "0s",
            "idle_timeout": "3600s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        },
        "request_headers_to_add": [_websocket_key()],
        "request_headers_to_remove": ["authorization", "cookie", "origin", "referer", "x-envoy-external-address"],
        **headers,
    }


def _websocket_key() -> Config:
    """What websockets that come by HTTP/2 lack and servers of HTTP/1.1 ask for, only to derive an answer from it."""
    key = base64.b64encode(b"headrace by http").decode()
    return {"header": {"key": "sec-websocket-key", "value": key}, "append_action": "ADD_IF_ABSENT"}


def _dashboard_root() -> Config:
    redirect = {
        "regex_rewrite": {"pattern": {"regex": "$"}, "substitution": "/"},
        "response_code": "PERMANENT_REDIRECT",
    }
    return {"match": {"safe_regex": {"regex": CLUSTER_PATH}}, "redirect": redirect, **_without_authz()}


def _grpc(service: str, upstream: str) -> Config:
    return {
        "match": {"prefix": f"/{service}/", "headers": _GRPC},
        "route": {
            "cluster": upstream,
            # Calls carry deadlines of their own; watches and logs are long; pings detect clients that are gone.
            "timeout": "0s",
            "idle_timeout": "0s",
            # Safe to repeat: the service has received nothing yet.
            "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2},
        },
        **_without_authz(),
    }


def _http(service: HttpService) -> Config:
    return {
        "match": {"prefix": service.prefix},
        "route": {"cluster": http_upstream(service.name), "timeout": "0s", "idle_timeout": "3600s"},
        **_without_authz(),
    }


def _not_found() -> Config:
    answer = {"status": 404, "body": {"inline_string": NOT_FOUND}}
    return {"match": {"prefix": "/"}, "direct_response": answer, **_without_authz()}


def _without_authz() -> Config:
    off = {
        EXT_AUTHZ: typed("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", {"disabled": True}),
        DECISIONS: typed("envoy.extensions.filters.http.lua.v3.LuaPerRoute", {"disabled": True}),
    }
    return {"typed_per_filter_config": off}
