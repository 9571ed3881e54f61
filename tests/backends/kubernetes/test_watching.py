"""A watch over streams that break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from structlog.testing import capture_logs

from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_backend_kubernetes.watching import Watch

BREAKS = 40


async def newest() -> str:
    return "1000"


async def test_a_stream_that_breaks_after_each_change_is_opened_again_at_once() -> None:
    """With pauses that grow all the same, this would take minutes."""
    versions: list[str] = []
    seen: list[str] = []
    all_seen = asyncio.Event()

    async def refresh() -> str:
        return "0"

    @asynccontextmanager
    async def open_stream(version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        async def stream() -> AsyncIterator[bytes]:
            pod = {"metadata": {"name": "a", "resourceVersion": str(int(version) + 1)}}
            yield json.dumps({"type": "MODIFIED", "object": pod}).encode() + b"\n"
            raise Unreachable(ConnectionResetError("cut"))

        versions.append(version)
        yield stream()

    def accept(change: str, _: msgspec.Raw) -> None:
        seen.append(change)
        if len(seen) == BREAKS:
            all_seen.set()

    watch = Watch("pods", "test", refresh=refresh, newest=newest, open_stream=open_stream, accept=accept)
    running = asyncio.create_task(watch.run())
    await asyncio.wait_for(all_seen.wait(), 60)
    running.cancel()
    await asyncio.wait([running])
    assert versions[:BREAKS] == [str(number) for number in range(BREAKS)]


async def test_an_object_that_cannot_be_read_does_not_stop_those_after_it() -> None:
    opened: list[str] = []
    seen: asyncio.Queue[msgspec.Raw] = asyncio.Queue()

    async def refresh() -> str:
        return "0"

    @asynccontextmanager
    async def open_stream(version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        async def stream() -> AsyncIterator[bytes]:
            for number in (1, 2):
                pod = {"metadata": {"name": "a", "resourceVersion": str(number)}}
                yield json.dumps({"type": "MODIFIED", "object": pod}).encode() + b"\n"
            await asyncio.Event().wait()

        opened.append(version)
        yield stream()

    def accept(_: str, content: msgspec.Raw) -> None:
        if b'"1"' in bytes(content):
            raise ValueError("year 0 is out of range")
        seen.put_nowait(content)

    running = asyncio.create_task(
        Watch("events", "test", refresh=refresh, newest=newest, open_stream=open_stream, accept=accept).run()
    )
    assert b'"2"' in bytes(await asyncio.wait_for(seen.get(), 60))
    running.cancel()
    await asyncio.wait([running])
    assert opened == ["0"]


async def test_it_goes_on_from_a_bookmark_and_lists_again_once_its_version_has_expired() -> None:
    opened: list[str] = []
    listed = iter(["0", "900"])
    last = asyncio.Event()

    async def refresh() -> str:
        return next(listed)

    @asynccontextmanager
    async def open_stream(version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        async def stream() -> AsyncIterator[bytes]:
            if version == "0":
                bookmark = {"metadata": {"resourceVersion": "500"}}
                yield json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n"
            elif version == "500":
                raise ApiError(410, "Expired", "too old resource version")
            else:
                last.set()
                await asyncio.Event().wait()

        opened.append(version)
        yield stream()

    def accept(change: str, _: msgspec.Raw) -> None:
        raise AssertionError(f"{change} is no change of a pod")

    watch = Watch("pods", "test", refresh=refresh, newest=newest, open_stream=open_stream, accept=accept)
    running = asyncio.create_task(watch.run())
    await asyncio.wait_for(last.wait(), 60)
    running.cancel()
    await asyncio.wait([running])
    assert opened == ["0", "500", "900"]


async def test_it_lists_again_once_the_store_has_gone_back_to_before_its_version() -> None:
    """A watch from a version that is yet to come says nothing, no error and no bookmark, until it has come."""
    opened: list[str] = []
    listed = iter(["900", "7"])
    newer = iter(["905", "6"])
    accepted = asyncio.Event()

    async def refresh() -> str:
        return next(listed)

    async def newest() -> str:
        return next(newer)

    @asynccontextmanager
    async def open_stream(version: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        async def stream() -> AsyncIterator[bytes]:
            if len(opened) == 1:
                return
            if version == "900":
                raise Unreachable(ConnectionResetError("restarted"))
            pod = {"metadata": {"name": "a", "resourceVersion": "8"}}
            yield json.dumps({"type": "MODIFIED", "object": pod}).encode() + b"\n"
            await asyncio.Event().wait()

        opened.append(version)
        yield stream()

    def accept(_change: str, _object: msgspec.Raw) -> None:
        accepted.set()

    watch = Watch("pods", "test", refresh=refresh, newest=newest, open_stream=open_stream, accept=accept)
    with capture_logs() as lines:
        running = asyncio.create_task(watch.run())
        await asyncio.wait_for(accepted.wait(), 60)
    running.cancel()
    await asyncio.wait([running])
    assert opened == ["900", "900", "7"]
    [line] = [line for line in lines if "restored" in line["event"]]
    assert (line["version"], line["newest"]) == ("900", "6")
