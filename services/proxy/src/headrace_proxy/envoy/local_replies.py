"""What Envoy itself answers when a service does not: sentences that say what to do."""

from __future__ import annotations

from headrace_proxy.envoy.envoy_config import Config
from headrace_proxy.envoy.http_routes import GRPC_SERVICES
from headrace_proxy.envoy.service_upstreams import AUTH

# No healthy upstream, connection failed, terminated or reset, overflow of a circuit breaker.
_NO_ANSWER = ["UH", "UF", "UC", "UR", "LR", "UO"]
_DASHBOARD_AWAY = "The dashboard of this cluster does not answer. If the cluster still runs, try again.\n"
_AUTHZ_AWAY = "headrace's auth service does not answer; try again in a moment.\n"


def local_reply_config() -> Config:
    """Bodies of Envoy's own answers; for gRPC calls they become the status's message."""
    no_answer: Config = {"response_flag_filter": {"flags": _NO_ANSWER}}
    services = [
        _mapper([_path(f"/{service}/"), no_answer], _service_away("auth" if to == AUTH else "controller"))
        for service, to in GRPC_SERVICES.items()
    ]
    # What is left are dashboards; their path has been rewritten already.
    return {
        "mappers": [
            *services,
            _mapper([_authz_failed(), _status(503)], _AUTHZ_AWAY),
            _mapper([no_answer], _DASHBOARD_AWAY),
        ]
    }


def _service_away(service: str) -> str:
    return f"headrace's {service} service does not answer; try again, `headrace doctor` tells which part is away"


def _authz_failed() -> Config:
    return {"response_flag_filter": {"flags": ["UAEX"]}}


def _status(code: int) -> Config:
    value = {"default_value": code, "runtime_key": "unused"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _path(prefix: str) -> Config:
    return {"header_filter": {"header": {"name": ":path", "string_match": {"prefix": prefix}}}}


def _mapper(filters: list[Config], body: str) -> Config:
    chosen = filters[0] if len(filters) == 1 else {"and_filter": {"filters": filters}}
    return {"filter": chosen, "body": {"inline_string": body}}
