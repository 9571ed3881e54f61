"""What Envoy itself answers when a service does not: sentences that say what to do."""

from __future__ import annotations

from headrace_proxy.envoy_config import Config
from headrace_proxy.http_routes import GRPC_SERVICES
from headrace_proxy.service_upstreams import AUTH

# No healthy upstream, connection failed, terminated or reset, overflow of a circuit breaker.
_NO_ANSWER = ["UH", "UF", "UC", "UR", "LR", "UO"]


def local_reply_config() -> Config:
    """Bodies of Envoy's own answers; for gRPC calls they become the status's message."""
    return {
        "mappers": [
            *(
                _no_answer(f"/{service}/", _away("auth" if to == AUTH else "controller"))
                for service, to in GRPC_SERVICES.items()
            ),
            _no_answer(
                "/clusters/", "The dashboard of this cluster does not answer. If the cluster still runs, try again.\n"
            ),
            _authz_away(),
        ]
    }


def _away(service: str) -> str:
    return f"headrace's {service} service does not answer; try again, `headrace doctor` tells which part is away"


def _no_answer(prefix: str, body: str) -> Config:
    return _mapper([_path(prefix), {"response_flag_filter": {"flags": _NO_ANSWER}}], body)


def _authz_away() -> Config:
    status: Config = {
        "status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 503, "runtime_key": "none"}}}
    }
    flag: Config = {"response_flag_filter": {"flags": ["UAEX"]}}
    return _mapper(
        [_path("/clusters/"), status, flag], "headrace's auth service does not answer; try again in a moment.\n"
    )


def _path(prefix: str) -> Config:
    return {"header_filter": {"header": {"name": ":path", "string_match": {"prefix": prefix}}}}


def _mapper(filters: list[Config], body: str) -> Config:
    return {"filter": {"and_filter": {"filters": filters}}, "body": {"inline_string": body}}
