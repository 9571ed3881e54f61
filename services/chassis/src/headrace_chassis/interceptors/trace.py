"""Trace: a span of each call, below that of the caller. Only where tracing is on."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.tracing import KEY, Tracing
from headrace_chassis.interceptors.call import Call, Interceptor, Method, Serve
from headrace_chassis.interceptors.observe import code_of


def trace(tracing: Tracing) -> Interceptor:
    """Return the interceptor, which stands outside all others."""

    def traced(method: Method, serve: Serve) -> Serve:
        name = method.path.removeprefix("/")
        attributes = {"rpc.system": "grpc", "rpc.method": name}

        async def served(call: Call) -> Any:
            parent = call.metadata.get(KEY, "")
            span = tracing.start(name, "SERVER", parent if isinstance(parent, str) else "", attributes)
            with tracing.within(span):
                try:
                    answer = await serve(call)
                except asyncio.CancelledError:
                    span.set_attribute("rpc.response.status_code", "CANCELLED")
                    raise
                except Exception:
                    span.set_attribute("rpc.response.status_code", code_of(call.context))
                    raise
                span.set_attribute("rpc.response.status_code", "OK")
                return answer

        return served

    return traced
