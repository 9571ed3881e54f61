"""Both ends together, on a channel in memory that delays, cuts and falls silent, with a clock that does not wait."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import secrets
import selectors
import ssl
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from distributed.comm.core import Comm, CommClosedError
from distributed.comm.tcp import TLS
from tornado.iostream import StreamClosedError

from headrace._resumable.absences import Absences
from headrace._resumable.comm import ResumableComm
from headrace._resumable.dialing import Dialer
from headrace._resumable.listening import SessionTable
from headrace._resumable.records import ALPN, HEADER_BYTES, HELLO_BYTES, NAME_BYTES, Hello
from headrace._resumable.transport import Transport

GRACE = 600
HELLO = HEADER_BYTES + HELLO_BYTES


class _Selector(selectors.EpollSelector):
    """Passes time instead of waiting for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class ImpatientLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        self._timers = weakref.WeakSet[asyncio.TimerHandle]()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timer = super().call_at(*args, **kwargs)
        self._timers.add(timer)
        return timer

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return what shall happen later."""
        return [timer for timer in self._timers if timer.when() > self.time() and not timer.cancelled()]


def run(test: Callable[[], Awaitable[None]], virtual_seconds: float = 3_000) -> None:
    """Run a test on a clock that does not wait; one that hangs fails."""

    async def main() -> None:
        async with asyncio.timeout(virtual_seconds):
            await test()

    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        runner.run(main())


class _Socket(ssl.SSLSocket):
    def __init__(self) -> None:
        pass

    def selected_alpn_protocol(self) -> str:
        return ALPN


class End:
    """One end of a connection: what `Transport` uses of a stream, and what sessions use of a TLS comm.

    Parameters
    ----------
    window
        Bytes on their way beyond which a write is not done.
    """

    def __init__(self, delay: Callable[[], float], window: int) -> None:
        self.peer: End
        self.stream = self
        self.socket = _Socket()
        self.extra_info = {"peercert": {"subject": ((("commonName", "ann"),),)}}
        self.local_address = self.peer_address = "tls://127.0.0.1:1"
        self.deserialize = self.allow_offload = True
        self.closed = False
        self.silent = False
        self.next_cut: int | None = None
        self.delay, self._window = delay, window
        self._under_way: deque[bytes] = deque()
        self._arrived = bytearray()
        self._changed = asyncio.Event()
        self._on_the_way = 0
        self._free_at = 0.0
        self._writes: list[asyncio.Future[None]] = []

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        self._check()
        loop = asyncio.get_running_loop()
        data = bytes(data)
        self._on_the_way += len(data)
        self._free_at = max(loop.time() + self.delay(), self._free_at)
        # Timers of the same moment come in any order.
        self._under_way.append(data)
        loop.call_at(self._free_at, self._deliver)
        written: asyncio.Future[None] = loop.create_future()
        if self._on_the_way <= self._window:
            written.set_result(None)
        else:
            self._writes.append(written)
        return written

    async def read_bytes(self, size: int) -> bytes:
        while len(self._arrived) < size:
            self._check()
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        return data

    async def read_into(self, view: memoryview) -> None:
        view[:] = await self.read_bytes(view.nbytes)

    def abort(self) -> None:
        """Close this end now, the other one later; what is on its way arrives before that."""
        if not self.closed:
            self.closed = True
            self._changed.set()
            for written in self._writes:
                written.cancel()
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time() + self.delay(), self._free_at), self.peer.abort)

    def _deliver(self) -> None:
        data = self._under_way.popleft()
        self._on_the_way -= len(data)
        if self._on_the_way <= self._window:
            for written in self._writes:
                if not written.done():
                    written.set_result(None)
            self._writes.clear()
        if self.silent or self.peer.closed:
            return
        if self.next_cut is not None:
            data = data[: self.next_cut]
            self.next_cut -= len(data)
        self.peer._arrived += data
        self.peer._changed.set()
        if self.next_cut == 0:
            self.abort()

    def _check(self) -> None:
        if self.closed:
            raise StreamClosedError


def connection(delay: Callable[[], float] = lambda: 0.0, window: int = 1 << 20) -> tuple[End, End]:
    """Return both ends of a new connection."""
    ends = End(delay, window), End(delay, window)
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    return ends


class Line:
    """A client's dialer and a scheduler's table, with a bad line between them."""

    def __init__(self, seed: int) -> None:
        self.numbers = random.Random(seed)
        self.good = self.broken = False
        self.dials = 0
        self.ends: list[End] = []
        self.table = SessionTable(GRACE)
        self.table.watch(away=self._away, back=self._back, ended=self._ended)
        self.away: set[Comm] = set()
        self.opened: asyncio.Queue[ResumableComm] = asyncio.Queue()
        self.absences = Absences(lambda: "c1", GRACE)
        self.dialer = Dialer(self._connect, self.absences)
        self._accepting: set[asyncio.Task[None]] = set()

    async def open(self) -> tuple[Any, Any]:
        """Return the comms of both ends."""
        comm = await self.dialer.open(deserialize=True)
        return comm, await self.opened.get()

    def sever(self) -> None:
        """Let nothing through any more."""
        self.broken = True
        for end in self.ends:
            end.abort()

    def _away(self, comm: Comm) -> None:
        assert comm not in self.away
        self.away.add(comm)

    def _back(self, comm: Comm) -> None:
        self.away.remove(comm)

    def _ended(self, comm: Comm) -> None:
        self.away.discard(comm)

    async def _connect(self) -> TLS:
        self.dials += 1
        if self.broken:
            raise StreamClosedError
        numbers = self.numbers
        # Some connections are so slow that their hello comes after that of the next one.
        slowness = 0.0 if self.good else numbers.choice([0.0, 0.001, 0.1, 1.0, 20.0])
        mine, theirs = connection(lambda: slowness * numbers.random(), numbers.choice([0, 1000, 1 << 20]))
        self.ends += [mine, theirs]
        if not self.good:
            for end in (mine, theirs):
                end.silent = numbers.random() < 0.1
                end.next_cut = numbers.choice([None, HELLO, numbers.randrange(1, 100), numbers.randrange(1, 500_000)])
        task = asyncio.create_task(self._accept(theirs))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        return cast("TLS", mine)

    async def _accept(self, end: End) -> None:
        if (comm := await self.table.accept(cast("TLS", end))) is not None:
            self.opened.put_nowait(comm)


@pytest.mark.parametrize("seed", range(40))
def test_messages_arrive_once_and_in_order_both_ways(seed: int) -> None:
    async def test() -> None:
        line = Line(seed)
        line.good = seed % 2 == 0
        comm, other = await line.open()
        line.good = False
        messages = [line.numbers.randbytes(int(10 ** line.numbers.uniform(0, 5.6))) for _ in range(30)]

        async def send(end: Any) -> None:
            for message in messages:
                await end.write(message)
                await asyncio.sleep(line.numbers.choice([0, 0, 1]))

        async def receive(end: Any) -> None:
            for message in messages:
                assert await end.read() == message

        await asyncio.gather(*(work(end) for end in (comm, other) for work in (send, receive)))
        line.good = True
        await comm.close()
        await asyncio.sleep(GRACE + 60)
        assert len(line.table) == 0
        assert line.absences.seconds is None

    run(test)


@pytest.mark.parametrize("seed", range(15))
def test_a_client_that_vanishes_leaves_nothing_at_the_scheduler(seed: int) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ImpatientLoop)
        before = len(loop.timers()), len(asyncio.all_tasks())
        line = Line(seed)
        comm = await line.dialer.open(deserialize=True)
        chatting = asyncio.create_task(_chat(line, comm))
        await asyncio.sleep(line.numbers.choice([0, 0.01, 10, 40]) * line.numbers.random())
        line.sever()
        chatting.cancel()
        await asyncio.sleep(GRACE + 60)
        assert len(line.table) == 0
        assert not line.away
        assert (len(loop.timers()), len(asyncio.all_tasks())) == before

    run(test)


@pytest.mark.parametrize("new", [False, True])
def test_a_hello_whose_connection_is_closed_already_changes_nothing(new: bool) -> None:
    async def test() -> None:
        line = Line(0)
        line.good = True
        comm, other = await line.open()
        await comm.write("hello")
        assert await other.read() == "hello"
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ImpatientLoop)
        before = len(loop.timers())
        mine, theirs = connection()
        mine.write(Hello(secrets.token_bytes(NAME_BYTES) if new else comm.session.name, new, 0, GRACE).pack())
        mine.abort()
        assert await line.table.accept(cast("TLS", theirs)) is None
        assert (len(line.table), len(loop.timers())) == (1, before)
        assert other.session.connected
        line.sever()
        await asyncio.sleep(GRACE + 60)
        assert len(line.table) == 0

    run(test)


def test_a_hello_that_comes_late_costs_a_connection_and_no_more() -> None:
    """A proxy that slept passes on the hello of a connection that the client gave up long ago."""

    async def test() -> None:
        line = Line(0)
        line.good = True
        comm, other = await line.open()
        await comm.write("hello")
        assert await other.read() == "hello"
        line.ends[0].silent = True  # The scheduler learns nothing of what the client received.
        for _ in range(8):
            await other.write(b"x" * 4_000_000)
            assert len(await comm.read()) == 4_000_000
        mine, theirs = connection(window=0)
        theirs.delay = lambda: 1000.0
        mine.write(Hello(comm.session.name, False, 0, GRACE).pack())
        assert await line.table.accept(cast("TLS", theirs)) is None
        await other.write("next")
        assert await comm.read() == "next"
        await comm.write("and back")
        assert await other.read() == "and back"
        assert line.dials == 2

    run(test)


def test_a_thousand_redials_leave_nothing_behind() -> None:
    # What other tests have left is counted each time.
    kept = [one for one in gc.get_objects() if type(one) is Transport]

    async def test() -> None:
        line = Line(0)
        line.good = True
        comm, other = await line.open()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ImpatientLoop)

        async def redial(times: int) -> tuple[int, ...]:
            for number in range(times):
                await comm.write(number)
                await other.write(await other.read())
                assert await comm.read() == number
                line.ends[-1 - number % 2].abort()
                del line.ends[:-2]
                await asyncio.sleep(1)
            gc.collect()
            transports = sum(type(one) is Transport for one in gc.get_objects())
            return len(loop.timers()), len(asyncio.all_tasks()), transports

        assert await redial(1_000) == await redial(2)
        assert line.dials > 1_000

    run(test)
    del kept


async def _chat(line: Line, comm: Any) -> None:
    """Write from both ends until they end."""
    with contextlib.suppress(CommClosedError):
        other: Any = await line.opened.get()
        while True:
            await other.write(b"x" * 1000)
            await comm.write(b"x" * 1000)
            await asyncio.sleep(0.1)
