"""A watch over streams that break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from headrace_backend_kubernetes.faults import Unreachable
from headrace_backend_kubernetes.watching import Watch

BREAKS = 40


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

    watch = Watch("pods", "test", refresh=refresh, open_stream=open_stream, accept=accept)
    running = asyncio.create_task(watch.run())
    await asyncio.wait_for(all_seen.wait(), 60)
    running.cancel()
    await asyncio.wait([running])
    assert versions[:BREAKS] == [str(number) for number in range(BREAKS)]
