"""Envoy's own answers while a service does not answer: what to do next."""

from __future__ import annotations

from headrace_proxy.config import Settings
from headrace_proxy.envoy.http_routes import GRPC_SERVICES
from headrace_proxy.envoy.parts import Config

# No healthy upstream; connection failed, terminated or reset; overflow of a circuit breaker.
_NO_ANSWER = ["UH", "UF", "UC", "UR", "LR", "UO"]
_NO_DASHBOARD = "The dashboard of this cluster does not answer. If the cluster still runs, try again.\n"
_NO_AUTHZ = "headrace's auth service does not answer; try again in a moment.\n"


def local_reply_config(settings: Settings) -> Config:
    """Bodies of Envoy's own answers; gRPC callers get them as the message of the status."""
    no_answer: Config = {"response_flag_filter": {"flags": _NO_ANSWER}}
    grpc = [_mapper([_path(f"/{name}/"), no_answer], _no_service(to)) for name, to in GRPC_SERVICES.items()]
    http = [_mapper([_path(one.prefix), no_answer], f"{_no_service(one.name)}\n") for one in settings.http_services]
    # The rest are dashboards, whose path has already been rewritten.
    return {
        "mappers": [
            *grpc,
            _mapper([_authz_failed(), _status(503)], _NO_AUTHZ),
            *http,
            _mapper([no_answer], _NO_DASHBOARD),
        ]
    }


def _no_service(service: str) -> str:
    return f"headrace's {service} service does not answer: try again; `headrace doctor` shows which part is away"


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
