"""The tracing of a service, if its settings name a collector."""

from __future__ import annotations

import functools

from headrace.tracing import Tracing
from headrace_chassis.settings import ServiceSettings


def tracing_of(settings: ServiceSettings) -> Tracing | None:
    """Return what makes the spans of a service, the same for all its parts; None if it does not trace."""
    if not settings.tracing_endpoint:
        return None
    prefix = str(settings.model_config.get("env_prefix", ""))
    return _tracing(settings.tracing_endpoint, prefix.strip("_").replace("_", "-").lower())


@functools.cache
def _tracing(endpoint: str, service: str) -> Tracing:
    return Tracing(endpoint, service)  # one for the process: it has a thread
