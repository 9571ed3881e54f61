"""Observe: request id, metrics, the version in each answer, and log lines of calls that failed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, cast

import grpc

from headrace_chassis import logs, metrics
from headrace_chassis.interceptors.call import VERSION, Call, Context, Method, Serve
from headrace_chassis.interceptors.failed_calls import FailedCalls

REQUEST_ID_KEY = "x-request-id"
REQUEST_ID_LENGTH = 64

log = logs.get_logger()


def observe(method: Method, serve: Serve) -> Serve:
    """Outermost: also sees what the others refuse."""
    in_flight = metrics.RPCS_IN_FLIGHT.labels(method.name)
    bound = log.bind(method=method.name)  # `log` itself binds again for each line, also for one that is not written
    failed = FailedCalls(bound)
    durations = cache(partial(metrics.RPC_SECONDS.labels, method.name))  # by code

    def count(code: str, started: float) -> float:
        seconds = time.perf_counter() - started
        durations(code).observe(seconds)
        return round(seconds, 4)

    async def observed(call: Call) -> Any:
        call.context.set_trailing_metadata(VERSION)
        logs.request_id.set(_request_id(call.metadata))
        started = time.perf_counter()
        in_flight.inc()
        try:
            answer = await serve(call)
        except asyncio.CancelledError:
            bound.debug("call cancelled", seconds=count("CANCELLED", started))
            raise
        except Exception:
            code = code_of(call.context)
            failed.add(code, call.context.details(), count(code, started))
            raise
        else:
            bound.debug("call", seconds=count("OK", started))
            return answer
        finally:
            in_flight.dec()

    return observed


def _request_id(metadata: Mapping[str, str | bytes]) -> str:
    given = metadata.get(REQUEST_ID_KEY)
    if isinstance(given, str) and given.isprintable():
        return given[:REQUEST_ID_LENGTH]
    return os.urandom(8).hex()


def code_of(context: Context) -> str:
    code = cast("object", context.code())  # a number or None if it was not set
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"
