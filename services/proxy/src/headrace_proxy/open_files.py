"""How many connections the system's limit on open files allows."""

from __future__ import annotations

import resource

from headrace_chassis.logs import get_logger

log = get_logger()

_KEPT_FOR_ENVOY = 200  # its own files, services and listeners


def connections_allowed(wanted: int) -> int:
    """Raises this process's limit, which Envoy inherits, and returns how many of the wanted connections fit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most == resource.RLIM_INFINITY:
        return wanted
    # Each connection through Envoy has two ends. Past the limit Envoy could not even refuse.
    fit = max(1, (most - _KEPT_FOR_ENVOY) // 2)
    if fit < wanted:
        log.info("fewer connections than wanted, raise the limit on open files", wanted=wanted, allowed=fit)
    return min(wanted, fit)
