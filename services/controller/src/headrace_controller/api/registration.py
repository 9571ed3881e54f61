"""Adds servicers to a server: a method `do_this(request)` for each RPC `DoThis`; answers may be serialised already."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


def register(server: grpc.aio.Server, service: ServiceDescriptor, servicer: object) -> str:
    """Adds a servicer; returns the service's full name."""
    handlers = {method.name: _handler(method, getattr(servicer, _snake(method.name))) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    return service.full_name


def _handler(method: MethodDescriptor, serve: Callable[[Any], Any]) -> grpc.RpcMethodHandler[Any, Any]:
    # The chassis awaits or iterates over whatever comes back; who calls is known from its own context.
    def behaviour(request: Any, _context: object) -> Any:
        return serve(request)

    decode = cast("Any", GetMessageClass(method.input_type)).FromString
    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(behaviour, decode, _serialised)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(behaviour, decode, _serialised)
    return grpc.unary_unary_rpc_method_handler(behaviour, decode, _serialised)


def _serialised(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
