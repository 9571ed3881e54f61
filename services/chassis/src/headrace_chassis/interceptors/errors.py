"""Errors: our classes become statuses; what is unknown is logged in full and told in brief."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Never

import grpc
from google.protobuf.message import DecodeError

from headrace._status import to_status
from headrace.errors import HeadraceError, InternalError, InvalidRequest
from headrace_chassis import logs
from headrace_chassis.interceptors.call import Call, Context
from headrace_chassis.redis_connection import as_store_unavailable

log = logs.get_logger()


@asynccontextmanager
async def errors(call: Call, context: Context) -> AsyncGenerator[None]:
    """Within observe, which reads the status that is set here."""
    try:
        yield
    except HeadraceError as error:
        await _abort(context, error)
    except grpc.aio.BaseError:
        raise  # aborted already, or nobody is there any more to hear
    except DecodeError:
        await _abort(context, InvalidRequest("a message of the stream is not valid protobuf"))
    except Exception as error:  # noqa: BLE001 logged in full by _internal
        await _abort(context, as_store_unavailable(error) or _internal(call, error))


async def _abort(context: Context, error: HeadraceError) -> Never:
    status = to_status(error)
    await context.abort(status.code, status.details, status.trailing_metadata)


def _internal(call: Call, error: Exception) -> InternalError:
    request_id = logs.request_id.get()
    log.error("unexpected error", method=call.name, exc_info=error)
    return InternalError(
        f"headrace failed in {call.name}; its log has the cause under request id {request_id}: tell the administrator",
        {"request_id": request_id},
    )
