"""A real TLS listener of Dask that takes sessions, and a TCP proxy before it that breaks connections."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from distributed.comm.core import Comm, CommClosedError, connect
from distributed.comm.core import Listener as DaskListener
from distributed.comm.registry import backends
from distributed.comm.tcp import TLSBackend
from google.protobuf.timestamp_pb2 import Timestamp
from tests.held_port import held_port

from headrace._dask.comm import RetryableTLSConnector
from headrace._dask.scheduler_access import as_file
from headrace._resumable.absences import Absences
from headrace._resumable.dialing import Dialer
from headrace._resumable.listening import ResumableTLSBackend, SessionTable
from headrace._resumable.records import ALPN
from headrace.v1.cluster_service_pb2 import ConnectClusterResponse
from headrace_chassis.tls.certificates import Authority

Handler = Callable[[Comm], Awaitable[None]]


class Authorities:
    """TLS contexts of one cluster's authority."""

    def __init__(self) -> None:
        self._authority = Authority.create("headrace c1", timedelta(hours=1))

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._load(context, "scheduler")

    def client(self, name: str = "ann", *, resumable: bool = True, units: Sequence[str] = ()) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        if resumable:
            context.set_alpn_protocols([ALPN])
        return self._load(context, name, units)

    def answer(self, name: str) -> ConnectClusterResponse:
        """Return what headrace gives a client."""
        leaf = self._authority.issue(name, timedelta(hours=1), [], [])
        return ConnectClusterResponse(
            ca_pem=self._authority.cert_pem.decode(),
            certificate_pem=leaf.cert_pem.decode(),
            private_key_pem=leaf.key_pem.decode(),
            server_name="scheduler",
            expire_time=Timestamp(seconds=int(time.time()) + 3600),
        )

    def _load(self, context: ssl.SSLContext, name: str, units: Sequence[str] = ()) -> ssl.SSLContext:
        leaf = self._authority.issue(name, timedelta(hours=1), [], [], units)
        context.load_verify_locations(cadata=self._authority.cert_pem.decode())
        with as_file((leaf.cert_pem + leaf.key_pem).decode()) as path:
            context.load_cert_chain(path)
        return context


class BreakingProxy:
    """Passes TCP connections on, until it is told not to."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.held = held_port()  # while nobody listens there
        self.port: int = self.held.getsockname()[1]
        self.accepted = 0
        # Bytes after which a connection is cut, one number for each direction of each connection; None: never.
        self.next_cut: Callable[[], int | None] = lambda: None
        # Seconds before a piece is passed on, and between the end of one direction and that of the connection at a cut.
        self.next_delay: Callable[[], float] = lambda: 0.0
        # Whether a connection is accepted and nothing of it passed on.
        self.next_mute: Callable[[], bool] = lambda: False
        # Whether what is sent is lost, and how many bytes were.
        self.silent, self.swallowed = asyncio.Event(), 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections, with a reset."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.next_mute():
            self._writers.add(writer)
            with contextlib.suppress(OSError):
                await reader.read()
            self._writers.discard(writer)
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        tasks = [asyncio.create_task(self._pass(*ends)) for ends in ((reader, back), (there, writer))]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks)
        finally:
            self._tasks.difference_update(tasks)
            for end in (writer, back):
                self._writers.discard(end)
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self.next_cut()
        try:
            while data := await reader.read(1 << 16):
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                if delay := self.next_delay():
                    await asyncio.sleep(delay)
                if self.silent.is_set():
                    self.swallowed += len(data)
                else:
                    writer.write(data)
                    await writer.drain()
                if left == 0:
                    writer.write_eof()
                    await asyncio.sleep(self.next_delay())
                    self.cut()
                    return
            writer.write_eof()
        except OSError:
            writer.transport.abort()  # a reset is passed on, too


async def _at_once() -> None:
    """Dial without waiting."""


@dataclass
class Bed:
    """A listener, the proxy before it, and what connects through it."""

    authorities: Authorities
    table: SessionTable
    listener: DaskListener
    proxy: BreakingProxy
    grace: int = 60
    away: list[Comm] = field(default_factory=list[Comm])
    back: list[Comm] = field(default_factory=list[Comm])
    dials: int = 0
    ready: Callable[[], Awaitable[object]] = field(default=_at_once)  # awaited before each dial
    refusal: Exception | None = None
    refused: int = 0

    async def connect(
        self,
        name: str = "ann",
        *,
        resumable: bool = True,
        absences: Absences | None = None,
        later: bool = False,
        units: Sequence[str] = (),
    ) -> Any:
        """Connect as Dask does, handshake included."""
        context = self.authorities.client(name, resumable=resumable, units=units)
        bed = self

        async def dial() -> Any:
            bed.dials += 1
            await bed.ready()
            if bed.refusal is not None:
                raise bed.refusal
            return await RetryableTLSConnector().connect(f"127.0.0.1:{bed.proxy.port}", ssl_context=context)

        class Connector:
            async def connect(self, loc: str, deserialize: bool = True, **_: object) -> Comm:
                dialer = Dialer(dial, absences or Absences(lambda: "c1", bed.grace), bed.count_refused)
                return dialer.open_later(f"tls://{loc}", deserialize) if later else await dialer.open(deserialize)

        class ToListener(TLSBackend):
            def get_connector(self) -> Connector:
                return Connector()

        backends["bed"] = ToListener()
        try:
            return await connect(f"bed://127.0.0.1:{self.proxy.port}", timeout=30)
        finally:
            del backends["bed"]

    def count_refused(self) -> None:
        self.refused += 1


async def echo(comm: Comm) -> None:
    """Send back each message."""
    with contextlib.suppress(CommClosedError):
        while True:
            await comm.write(await comm.read())


@contextlib.asynccontextmanager
async def listening(handle: Handler = echo, grace: float = 60) -> AsyncGenerator[Bed]:
    """Run a bed whose listener calls `handle` for each new comm."""
    authorities = Authorities()
    away: list[Comm] = []
    back: list[Comm] = []
    table = SessionTable(grace)
    table.watch(away=away.append, back=back.append, ended=lambda _: None)
    listener = ResumableTLSBackend(table).get_listener("127.0.0.1:0", handle, True, ssl_context=authorities.server())
    await listener.start()
    proxy = BreakingProxy(int(listener.listen_address.rpartition(":")[2]))
    await proxy.start()
    try:
        yield Bed(authorities, table, listener, proxy, away=away, back=back)
    finally:
        await proxy.stop()
        proxy.held.close()
        listener.stop()


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    async with listening() as bed:
        yield bed
