"""The interceptors of every call: observe, errors, audit, authenticate, deadline, limit."""

from __future__ import annotations

from headrace_chassis.interceptors.call import Interceptor
from headrace_chassis.interceptors.errors import errors
from headrace_chassis.interceptors.observe import observe


def order(
    authenticate: Interceptor, deadline: Interceptor, limit: Interceptor, audit: Interceptor | None = None
) -> tuple[Interceptor, ...]:
    """Return them in their order, the outermost first: each sees what those within it refuse."""
    return (observe, errors, *([audit] if audit else []), authenticate, deadline, limit)
