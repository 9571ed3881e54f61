"""What every call passes on its way in: observe, errors, authenticate, deadline."""

from __future__ import annotations

from headrace_chassis.interceptors.call import Interceptor
from headrace_chassis.interceptors.errors import errors
from headrace_chassis.interceptors.observe import observe


def order(authenticate: Interceptor, deadline: Interceptor) -> tuple[Interceptor, ...]:
    """Puts the four into their order, the outermost first: each tells of what those within it refuse."""
    return (observe, errors, authenticate, deadline)
