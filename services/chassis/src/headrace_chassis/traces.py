"""The tracing of a service, if its settings name a collector."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import grpc.aio

from headrace.tracing import Tracing
from headrace_chassis.settings import ServiceSettings


def tracing_of(settings: ServiceSettings) -> Tracing | None:
    """Return what makes the spans of a service, the same for all its parts; None if it does not trace."""
    if not settings.tracing_endpoint:
        return None
    prefix = str(settings.model_config.get("env_prefix", ""))
    return _tracing(settings.tracing_endpoint, prefix.strip("_").replace("_", "-").lower())


def spans_of_calls(settings: ServiceSettings) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what makes spans of a service's calls to other services; nothing if it does not trace."""
    if (tracing := tracing_of(settings)) is None:
        return ()
    from headrace._wire.call_spans import interceptors

    return interceptors(tracing)


@functools.cache
def _tracing(endpoint: str, service: str) -> Tracing:
    return Tracing(endpoint, service)  # one for the process: it has a thread
