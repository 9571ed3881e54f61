"""Errors: our classes become statuses; unknown errors are logged in full and answered in brief."""

from __future__ import annotations

from typing import Any, Never

import grpc
from google.protobuf.message import DecodeError

from headrace._wire.status import to_status
from headrace.errors import HeadraceError, InternalError, InvalidRequest
from headrace_chassis import logs
from headrace_chassis.interceptors.call import VERSION, Call, Context, Method, Serve
from headrace_chassis.redis.connection import as_store_unavailable

log = logs.get_logger()


def errors(method: Method, serve: Serve) -> Serve:
    """Within observe, which reads the status that is set here."""

    async def translated(call: Call) -> Any:
        try:
            return await serve(call)
        except HeadraceError as error:
            await _abort(call.context, error)
        except grpc.aio.BaseError:
            raise  # aborted already, or the caller has gone
        except DecodeError:
            await _abort(call.context, InvalidRequest("a message of the stream is not valid protobuf"))
        except Exception as error:  # noqa: BLE001 logged in full by _internal
            await _abort(call.context, as_store_unavailable(error) or _internal(method, error))

    return translated


async def _abort(context: Context, error: HeadraceError) -> Never:
    status = to_status(error)
    await context.abort(status.code, status.details, (*VERSION, *status.trailing_metadata))


def _internal(method: Method, error: Exception) -> InternalError:
    request_id = logs.request_id.get()
    log.error("unexpected error", method=method.name, exc_info=error)
    return InternalError(
        f"headrace failed in {method.name}; report request id {request_id} to the administrator, "
        "whose log has the cause under it",
        {"request_id": request_id},
    )
