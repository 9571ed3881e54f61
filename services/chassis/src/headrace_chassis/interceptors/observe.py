"""Observe: request id, metrics, and a log line for what went wrong."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import grpc

from headrace_chassis import logs, metrics
from headrace_chassis.interceptors.call import Call, Context

REQUEST_ID_KEY = "x-request-id"
REQUEST_ID_LENGTH = 64

log = logs.get_logger()


@asynccontextmanager
async def observe(call: Call, context: Context) -> AsyncGenerator[None]:
    """Outermost: sees also what the others refuse."""
    logs.request_id.set(_request_id(context))
    in_flight = metrics.RPCS_IN_FLIGHT.labels(call.name)
    in_flight.inc()
    started = time.perf_counter()
    code = "UNKNOWN"
    try:
        yield
        code = "OK"
    except asyncio.CancelledError:
        code = "CANCELLED"
        raise
    except Exception:
        code = _code(context)
        raise
    finally:
        seconds = time.perf_counter() - started
        in_flight.dec()
        metrics.RPC_SECONDS.labels(call.name, code).observe(seconds)
        if code not in {"OK", "CANCELLED"}:
            log.info("call failed", method=call.name, code=code, error=context.details(), seconds=round(seconds, 4))
        else:
            log.debug("call", method=call.name, code=code, seconds=round(seconds, 4))


def _request_id(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and value.isprintable():
            return value[:REQUEST_ID_LENGTH]
    return os.urandom(8).hex()


def _code(context: Context) -> str:
    code = cast("object", context.code())  # a number or None where nobody has set it
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"
