"""Schedulers that are measured: real ones, and pages that say what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import Scheduler

from headrace.agent import dashboard, metrics_page
from headrace.agent.meter import Meter
from headrace_controller.signals.reading import NAMES, PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def key(cluster: str) -> str:
    """Return the key of a cluster's metrics."""
    return f"key-of-{cluster}"


def text(numbers: Mapping[str, object] | None = None, *lines: str) -> str:
    """Return a page with these numbers; the others are 0."""
    values: dict[str, object] = {**dict.fromkeys(sorted(NAMES), 0), **(numbers or {})}
    return "\n".join([*(f"{PREFIX}{name} {value}" for name, value in values.items()), *lines, "# EOF", ""])


@dataclass
class Page:
    """A page that says what a test wants, to a reader that sends the key.

    Attributes
    ----------
    keeps
        Whether a connection stays open for another request, as with a real scheduler.
    asked, connections
        Requests, and connections that were opened for them.
    writers
        Of the connections that are open.
    """

    cluster: str
    text: str = field(default_factory=text)
    hangs: bool = False
    keeps: bool = True
    asked: int = 0
    connections: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    on_request: Callable[[], object] = int
    address: str = ""

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[Page]:
        async with AsyncExitStack() as stack:
            server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            stack.callback(self.disconnect)
            self.address = "{}:{}".format(*server.sockets[0].getsockname())
            yield self

    def disconnect(self) -> None:
        """Close all connections."""
        for writer in self.writers:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            while await self._answer_once(reader, writer):
                pass
        except (OSError, EOFError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _answer_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        self.on_request()
        if self.hangs:
            await reader.read()  # until the other side gives up
            return False
        known = f"GET /metrics/headrace?key={key(self.cluster)} ".encode() in request
        keeps = self.keeps and b"\r\nConnection: keep-alive\r\n" in request
        body = (self.text if known else "").encode()
        head = (
            f"HTTP/1.1 {'200 OK' if known else '403 Forbidden'}",
            "Content-Type: text/plain",
            f"Content-Length: {len(body)}",
            f"Connection: {'Keep-Alive' if keeps else 'close'}",
        )
        writer.write("\r\n".join((*head, "", "")).encode() + body)
        await writer.drain()
        return keeps


@asynccontextmanager
async def scheduler(cluster: str) -> AsyncGenerator[Any]:
    """Run a scheduler as the agent does it, in this process."""
    made: Any = Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0")
    dashboard.protect(made, "the-dashboard's", key(cluster))
    metrics_page.serve(made, Meter(made))
    async with made as running:
        yield running
