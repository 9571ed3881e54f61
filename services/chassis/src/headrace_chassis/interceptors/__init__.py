"""The interceptors of every call: observe, errors, authenticate, deadline, limit."""

from __future__ import annotations

from headrace_chassis.interceptors.call import Interceptor
from headrace_chassis.interceptors.errors import errors
from headrace_chassis.interceptors.observe import observe


def order(authenticate: Interceptor, deadline: Interceptor, limit: Interceptor) -> tuple[Interceptor, ...]:
    """Return the five in their order, the outermost first: each sees what those within it refuse."""
    return (observe, errors, authenticate, deadline, limit)
