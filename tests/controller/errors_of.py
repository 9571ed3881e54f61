"""What a failed call says, as our own classes."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc.aio
import pytest

from headrace._wire.status import from_rpc_error
from headrace.errors import HeadraceError, InvalidRequest

E = TypeVar("E", bound=HeadraceError)


async def fails(cls: type[E], call: Awaitable[Any]) -> E:
    """Awaits a call that must fail with this class."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = from_rpc_error(caught.value)
    assert type(error) is cls, error
    return error


async def wrong_fields(call: Awaitable[Any]) -> set[str]:
    """The fields that a call is refused for."""
    error = await fails(InvalidRequest, call)
    return {violation.field for violation in error.violations}


async def first(stream: Any) -> Any:
    """The first message of a stream."""
    async for message in stream:
        return message
    raise AssertionError("the stream is empty")
