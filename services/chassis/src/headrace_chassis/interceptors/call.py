"""What the interceptors know about a method before any call of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from headrace_chassis.rights import Right

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"  # one interceptor serves all messages


@dataclass(frozen=True, slots=True)
class Call:
    """A method, looked at once and not for each call.

    Attributes
    ----------
    method
        As it goes over the wire: ``/headrace.v1.AuthService/Login``.
    name
        For people and metrics: ``AuthService.Login``.
    is_stream
        Whether it answers, or is asked, with a stream.
    right
        What the caller must be; None: nobody may.
    """

    method: str
    name: str
    is_stream: bool
    right: Right | None


Interceptor: TypeAlias = "Callable[[Call, Context], AbstractAsyncContextManager[None]]"
