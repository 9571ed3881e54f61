"""What the interceptors know about a method before any call of it, and about a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from headrace.v1.enums import Right

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"  # one interceptor serves all messages


@dataclass(frozen=True, slots=True)
class Method:
    """A method, looked at once and not for each call.

    Attributes
    ----------
    path
        As it goes over the wire: ``/headrace.v1.AuthService/Login``.
    name
        For people and metrics: ``AuthService.Login``.
    is_stream
        Whether it answers, or is asked, with a stream.
    right
        What the caller must be; None: nobody may.
    """

    path: str
    name: str
    is_stream: bool
    right: Right | None


@dataclass(frozen=True, slots=True)
class Call:
    """A call under way.

    Attributes
    ----------
    request
        As it came: bytes, or an iterator of messages.
    context
        gRPC's.
    metadata
        What was sent with it; read once, since gRPC makes it anew each time.
    """

    request: Any
    context: Context
    metadata: Mapping[str, str | bytes]


Serve: TypeAlias = "Callable[[Call], Awaitable[Any]]"
"""Serves a call; answers None where it has written its answers to the context."""

Interceptor: TypeAlias = "Callable[[Method, Serve], Serve]"
"""Wraps what serves a method, once for all its calls."""
