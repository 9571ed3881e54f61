"""A method and a call of it, as the interceptors see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeAlias

import grpc

from headrace._wire.version import KEY
from headrace.v1.enums import Right

# Trailing metadata of every answer. A client warns of a version too far from its own.
VERSION = ((KEY, version("headrace-chassis")),)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"  # one interceptor serves all messages


@dataclass(frozen=True, slots=True)
class Method:
    """A method, inspected once for all its calls.

    Attributes
    ----------
    path
        On the wire: ``/headrace.v1.AuthService/Login``.
    name
        For people and metrics: ``AuthService.Login``.
    is_stream
        Whether requests or responses are a stream.
    right
        Right that the caller needs. None means that nobody may call it.
    """

    path: str
    name: str
    is_stream: bool
    right: Right | None


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is being served.

    Attributes
    ----------
    request
        As received: bytes, or an iterator of messages.
    context
        Context of gRPC.
    metadata
        Metadata of the request, read once: gRPC builds it again at each read.
    """

    request: Any
    context: Context
    metadata: Mapping[str, str | bytes]


Serve: TypeAlias = "Callable[[Call], Awaitable[Any]]"
"""Serves a call. Returns None if it has written its responses to the context."""

Interceptor: TypeAlias = "Callable[[Method, Serve], Serve]"
"""Wraps the function that serves a method, once for all its calls."""
