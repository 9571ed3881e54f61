"""Watches one kind of object of one namespace: lists it, follows its changes, and starts over when that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from headrace.backoff import delays
from headrace_backend_kubernetes import metrics
from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_backend_kubernetes.objects import decode_named, decode_notice, decode_status
from headrace_chassis.logs import get_logger

log = get_logger()

_GONE = 410
_PAUSES = (0.05, 10.0)

Open = Callable[[str], AbstractAsyncContextManager[AsyncIterator[bytes]]]


class Watch:
    """A watch that is kept open.

    Parameters
    ----------
    resource
        For the log and the metrics.
    refresh
        Lists everything, hands it on, and returns the version from which its changes can be watched.
    newest
        Returns the newest version that there is.
    open_stream
        Opens the stream of changes from a version on.
    accept
        Called with the type of each change and its object, as JSON.
    """

    def __init__(
        self,
        resource: str,
        namespace: str,
        *,
        refresh: Callable[[], Awaitable[str]],
        newest: Callable[[], Awaitable[str]],
        open_stream: Open,
        accept: Callable[[str, msgspec.Raw], None],
    ) -> None:
        self._resource = resource
        self._namespace = namespace
        self._refresh = refresh
        self._newest = newest
        self._open = open_stream
        self._accept = accept
        self._version = ""
        self._received = False

    async def list(self) -> None:
        """Lists everything; raises what the API raises."""
        self._version = await self._refresh()

    async def run(self) -> None:
        """Watches until cancelled; lists first if `list` was not called."""
        pauses = delays(*_PAUSES)
        while True:
            reason = "end"
            self._received = False
            try:
                if not self._version or await self._is_ahead():
                    await self.list()
                await self._follow()
            except ApiError as error:
                reason = "expired" if error.code == _GONE else "error"
                if reason == "expired":
                    self._version = ""
                self._warn(reason, error)
            except Unreachable as error:
                reason = "error"
                self._warn(reason, error)
            except Exception:  # a fault of ours or an object that cannot be read; logged in full
                reason = "error"
                self._version = ""
                log.exception("watch failed", resource=self._resource, namespace=self._namespace)
            metrics.WATCH_RESTARTS.labels(self._resource, reason).inc()
            if self._received:  # a stream that breaks often must not be late as well
                pauses = delays(*_PAUSES)
            await asyncio.sleep(next(pauses))

    async def _is_ahead(self) -> bool:
        """Whether the API server's store has gone back to before the version: a watch from there would say nothing."""
        newest = await self._newest()
        if int(newest) >= int(self._version):
            return False
        log.warning(
            "the API server's store was restored from a back-up; everything is listed again",
            resource=self._resource,
            namespace=self._namespace,
            version=self._version,
            newest=newest,
        )
        metrics.WATCH_RESTARTS.labels(self._resource, "restored").inc()
        return True

    def _warn(self, reason: str, error: Exception) -> None:
        log.warning(
            "watch broke; will watch again",
            resource=self._resource,
            namespace=self._namespace,
            reason=reason,
            error=str(error),
        )

    async def _follow(self) -> None:
        """Hands changes on until the server closes the stream."""
        async with self._open(self._version) as chunks:
            async for line in lines(chunks):
                self._handle(line)
                self._received = True

    def _handle(self, line: bytes) -> None:
        notice = decode_notice(line)
        if notice.type == "ERROR":
            status = decode_status(notice.object)
            raise ApiError(status.code, status.reason, status.message)
        if notice.type != "BOOKMARK":
            try:
                self._accept(notice.type, notice.object)
            except Exception:  # one object must not stop those after it; logged in full
                log.exception("object cannot be read", resource=self._resource, namespace=self._namespace)
        # An object is not handed on twice after a break: where to go on is known only once it was accepted.
        self._version = decode_named(notice.object).metadata.resource_version or self._version


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields whole lines without their end; a last one without an end is left out."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
