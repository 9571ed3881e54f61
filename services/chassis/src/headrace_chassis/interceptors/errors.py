"""Errors: our classes become statuses; what is unknown is logged in full and told in brief."""

from __future__ import annotations

from typing import Any, Never

import grpc
from google.protobuf.message import DecodeError

from headrace._wire.status import to_status
from headrace.errors import HeadraceError, InternalError, InvalidRequest
from headrace_chassis import logs
from headrace_chassis.interceptors.call import Call, Context, Method, Serve
from headrace_chassis.interceptors.version import VERSION
from headrace_chassis.redis.connection import as_store_unavailable

log = logs.get_logger()


def errors(method: Method, serve: Serve) -> Serve:
    """Within observe, which reads the status that is set here."""

    async def told(call: Call) -> Any:
        try:
            return await serve(call)
        except HeadraceError as error:
            await _abort(call.context, error)
        except grpc.aio.BaseError:
            raise  # aborted already, or nobody is there any more to hear
        except DecodeError:
            await _abort(call.context, InvalidRequest("a message of the stream is not valid protobuf"))
        except Exception as error:  # noqa: BLE001 logged in full by _internal
            await _abort(call.context, as_store_unavailable(error) or _internal(method, error))

    return told


async def _abort(context: Context, error: HeadraceError) -> Never:
    status = to_status(error)
    await context.abort(status.code, status.details, (*VERSION, *status.trailing_metadata))


def _internal(method: Method, error: Exception) -> InternalError:
    request_id = logs.request_id.get()
    log.error("unexpected error", method=method.name, exc_info=error)
    return InternalError(
        f"headrace failed in {method.name}; its log has the cause under request id {request_id}: "
        "tell the administrator",
        {"request_id": request_id},
    )
