"""A channel that follows the files of its certificate."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

import grpc
from typing_extensions import override

from headrace_chassis.tls.certificate_files import CertificateFiles, Pems

Open = Callable[[grpc.ChannelCredentials], grpc.aio.Channel]


class RenewedChannel(grpc.aio.Channel):
    """A channel that follows renewed files: the next call opens a new channel of gRPC's own.

    One of these keeps the certificate that it was opened with, and cannot connect again once that has expired. Calls
    that run stay on the old one, which is closed after the last of them.

    Parameters
    ----------
    files
        Certificate, key and authority.
    open_with
        Opens a channel of gRPC's own.
    """

    def __init__(self, files: CertificateFiles, open_with: Open) -> None:
        self._files = files
        self._open_with = open_with
        self._retiring: dict[asyncio.Task[None], grpc.aio.Channel] = {}
        self._begin(files.read())

    def _begin(self, pems: Pems) -> None:
        self._channel = self._open_with(grpc.ssl_channel_credentials(pems.ca, pems.key, pems.certificate))
        self._calls = weakref.WeakSet[grpc.aio.Call]()

    def _follow_files(self) -> None:
        if (renewed := self._files.changed()) is None:
            return
        task = asyncio.create_task(_close_after(self._channel, list(self._calls)))
        self._retiring[task] = self._channel
        task.add_done_callback(self._retiring.pop)
        self._begin(renewed)

    def _method(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        """Return a method whose calls run on the channel of their time."""

        def call(*call_args: Any, **call_kwargs: Any) -> grpc.aio.Call:
            self._follow_files()
            call = cast("grpc.aio.Call", getattr(self._channel, kind)(*args, **kwargs)(*call_args, **call_kwargs))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            return call

        return call

    @override
    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("unary_unary", *args, **kwargs)

    @override
    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("unary_stream", *args, **kwargs)

    @override
    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("stream_unary", *args, **kwargs)

    @override
    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("stream_stream", *args, **kwargs)

    @override
    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    @override
    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    @override
    async def channel_ready(self) -> None:
        self._follow_files()
        await self._channel.channel_ready()

    @override
    async def close(self, grace: float | None = None) -> None:
        channels = [self._channel, *self._retiring.values()]
        await asyncio.gather(*(channel.close(grace) for channel in channels))

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()


async def _close_after(channel: grpc.aio.Channel, calls: list[grpc.aio.Call]) -> None:
    """Close the channel when the calls have ended."""
    while calls:
        with suppress(Exception):  # the caller gets it from the call itself
            await calls.pop().code()
    await channel.close()
