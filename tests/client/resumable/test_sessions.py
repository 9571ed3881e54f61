"""Comms that outlive their connections, over real TLS, through a proxy that breaks them."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import ssl
import struct
from typing import Any

import numpy
import pytest
from distributed.comm.core import Comm, CommClosedError, FatalCommClosedError
from distributed.comm.tcp import TLS, TLSConnector
from distributed.protocol.serialize import to_serialize
from tests.client.resumable.conftest import Bed, listening
from tests.conftest import Eventually

from headrace._resumable import dialing, session
from headrace._resumable.comm import ResumableComm
from headrace._resumable.records import HEADER_BYTES, NAME_BYTES, Header, Hello, Kind
from headrace._resumable.session import Session


async def test_messages_come_back(bed: Bed) -> None:
    comm = await bed.connect()
    assert isinstance(comm, ResumableComm)
    for message in (1, "text", {"key": "value"}, b"x" * 3_000_000, [], b""):
        await comm.write(message)
        assert await comm.read() in (message, ())
    await comm.close()
    assert comm.closed()


async def test_arrays_of_all_sizes_come_back(bed: Bed) -> None:
    comm = await bed.connect()
    for size in (0, 1, 1000, 65_536, 70_000, 20_000_000):
        array = numpy.arange(size, dtype="u1")
        await comm.write({"x": to_serialize(array), "y": to_serialize(array[: size // 2])})
        answer = await comm.read()
        assert numpy.array_equal(answer["x"], array)
        assert numpy.array_equal(answer["y"], array[: size // 2])
        assert answer["x"].flags.writeable
    await comm.close()


@pytest.mark.parametrize("resumable", [True, False])
async def test_the_other_end_may_be_an_old_one(resumable: bool) -> None:
    """Dask's own comm with our listener here; our client with Dask's listener in tests/client/dask."""
    async with listening() as bed:
        comm = await bed.connect(resumable=resumable)
        assert isinstance(comm, ResumableComm) == resumable
        assert isinstance(comm, TLS) != resumable
        await comm.write("hello")
        assert await comm.read() == "hello"
        await comm.close()


async def test_a_cut_between_messages(bed: Bed) -> None:
    comm = await bed.connect()
    for number in range(20):
        await comm.write(number)
        if number % 3 == 0:
            bed.proxy.cut()
        assert await comm.read() == number
    assert bed.dials > 3
    assert len(bed.table) == 1
    await comm.close()


@pytest.mark.parametrize("seed", range(4))
async def test_cuts_at_random_bytes_lose_and_double_nothing(bed: Bed, seed: int) -> None:
    numbers = random.Random(seed)
    bed.proxy.next_cut = lambda: numbers.randrange(2_000, 3_000_000)
    comm = await bed.connect()
    messages = [numbers.randbytes(int(10 ** numbers.uniform(0, 6.3))) for _ in range(60)]

    async def send() -> None:
        for index, message in enumerate(messages):
            await comm.write({"index": index, "data": to_serialize(message)})

    sending = asyncio.create_task(send())
    for index, message in enumerate(messages):
        answer = await comm.read()
        assert answer["index"] == index
        assert bytes(answer["data"]) == message
    await sending
    assert bed.dials > 5
    bed.proxy.next_cut = lambda: None
    await comm.close()


async def test_both_ends_write_much_at_once_over_a_bad_line() -> None:
    """Back-pressure on both sides, broken connections, and no deadlock."""

    async def flood(comm: Comm) -> None:
        writing = asyncio.create_task(_write_all(comm))
        await _read_all(comm)
        await writing

    async with listening(flood) as bed:
        numbers = random.Random(1)
        bed.proxy.next_cut = lambda: numbers.randrange(500_000, 20_000_000)
        comm = await bed.connect()
        await flood(comm)
        await comm.close()


async def _write_all(comm: Comm) -> None:
    for number in range(30):
        await comm.write({"n": number, "x": to_serialize(numpy.full(1_000_000, number, "u1"))})


async def _read_all(comm: Any) -> None:
    for number in range(30):
        message = await comm.read()
        assert message["n"] == number
        assert message["x"].sum() == 1_000_000 * number


async def test_an_absence_within_the_grace_is_survived(bed: Bed, eventually: Eventually) -> None:
    comm = await bed.connect()
    await bed.proxy.stop()
    await eventually(lambda: bed.away)
    await comm.write("sent while away")
    reading = asyncio.create_task(comm.read())
    assert not comm.closed()
    await bed.proxy.start()
    assert await reading == "sent while away"
    assert len(bed.back) == 1
    await comm.close()


async def test_an_absence_beyond_the_grace_ends_it_at_both_ends(eventually: Eventually) -> None:
    ended = asyncio.Event()

    async def wait_for_end(comm: Comm) -> None:
        with pytest.raises(CommClosedError, match="away for too long"):
            await comm.read()
        ended.set()

    async with listening(wait_for_end, grace=1) as bed:
        comm = await bed.connect()
        await bed.proxy.stop()
        await asyncio.wait_for(ended.wait(), 30)
        assert len(bed.table) == 0
        await bed.proxy.start()
        with pytest.raises(CommClosedError, match="given up the session"):
            await comm.read()


async def test_the_user_may_want_less_grace_than_is_allowed(bed: Bed) -> None:
    bed.grace = 7
    comm = await bed.connect()
    await comm.write(1)
    await comm.read()
    assert isinstance(comm, ResumableComm)
    assert comm.session.grace == 7
    await comm.close()


async def test_close_ends_the_session_at_both_ends(bed: Bed, eventually: Eventually) -> None:
    comm = await bed.connect()
    await comm.write("last words")
    await comm.close()
    await eventually(lambda: len(bed.table) == 0)
    with pytest.raises(CommClosedError):
        await comm.write("too late")
    with pytest.raises(CommClosedError):
        await comm.read()


async def test_what_was_written_before_close_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_CLOSE_SECONDS", 60)  # it is much
    got: asyncio.Queue[object] = asyncio.Queue()

    async def collect(comm: Any) -> None:
        try:
            while True:
                got.put_nowait(len(await comm.read()))
        except CommClosedError:
            got.put_nowait("end")

    async with listening(collect) as bed:
        comm = await bed.connect()
        await comm.write(b"x" * 20_000_000)
        await comm.close()
        assert [await got.get(), await got.get()] == [20_000_000, "end"]


async def collect(got: asyncio.Queue[object], comm: Any) -> None:
    """Note each message, and the end."""
    try:
        while True:
            got.put_nowait(await comm.read())
    except CommClosedError:
        got.put_nowait("end")


async def test_close_while_the_next_connection_takes_over_ends_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    got: asyncio.Queue[object] = asyncio.Queue()
    hello, answer = asyncio.Event(), asyncio.Event()

    async def admit_late(_: object) -> bool:
        hello.set()
        return await answer.wait()

    async with listening(functools.partial(collect, got)) as bed:
        comm = await bed.connect()
        monkeypatch.setattr(bed.table.guests, "admits_soon", admit_late)
        bed.table.redial()
        await hello.wait()
        await comm.write("last words")
        closing = asyncio.ensure_future(comm.close())
        await asyncio.sleep(0)
        answer.set()
        await closing
        async with asyncio.timeout(30):
            assert [await got.get(), await got.get()] == ["last words", "end"]
        assert len(bed.table) == 0


async def test_a_connection_that_takes_over_during_close_ends_both_ends(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_CLOSE_SECONDS", 30)
    got: asyncio.Queue[object] = asyncio.Queue()
    dial = asyncio.Event()
    async with listening(functools.partial(collect, got)) as bed:
        comm = await bed.connect()
        bed.ready = dial.wait
        bed.table.redial()
        await eventually(lambda: bed.dials == 2)
        bed.proxy.silent.set()  # the old connection is slower than the new one
        await comm.write("last words")
        closing = asyncio.ensure_future(comm.close())
        await eventually(lambda: bed.proxy.swallowed)
        bed.proxy.silent.clear()
        dial.set()
        await closing
        async with asyncio.timeout(30):
            assert [await got.get(), await got.get()] == ["last words", "end"]
        assert len(bed.table) == 0


async def test_close_while_away_ends_at_once(bed: Bed, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_CLOSE_SECONDS", 600)
    comm = await bed.connect()
    await bed.proxy.stop()
    await eventually(lambda: bed.away)
    await comm.write("nobody will read this")
    async with asyncio.timeout(30):
        await comm.close()


async def test_a_comm_opened_during_an_absence_waits(bed: Bed) -> None:
    await bed.proxy.stop()
    opening = asyncio.create_task(bed.connect(later=True))
    await asyncio.sleep(0)
    await bed.proxy.start()
    comm = await opening
    await comm.write("after all")
    assert await comm.read() == "after all"
    await comm.close()


async def test_back_pressure_bounds_what_is_kept(bed: Bed, eventually: Eventually) -> None:
    comm = await bed.connect()
    assert isinstance(comm, ResumableComm)
    bed.proxy.silent.set()
    writing = asyncio.create_task(_write_mebibytes(comm, 200))
    await eventually(lambda: comm.session.kept > 60 << 20)
    assert comm.session.kept < 70 << 20
    assert not writing.done()
    bed.proxy.silent.clear()
    bed.proxy.cut()
    for _ in range(200):
        assert len(await comm.read()) == 1 << 20
    await writing
    await comm.close()


async def _write_mebibytes(comm: Comm, count: int) -> None:
    for _ in range(count):
        await comm.write(b"x" * (1 << 20))


async def test_nobody_else_takes_a_session_over(bed: Bed) -> None:
    comm = await bed.connect("ann")
    assert isinstance(comm, ResumableComm)
    answer = await _hello(bed, "eve", Hello(comm.session.name, False, 0, 60))
    assert answer is Kind.GONE
    answer = await _hello(bed, "eve", Hello(comm.session.name, True, 0, 60))
    assert answer is Kind.GONE
    await comm.write("still mine")
    assert await comm.read() == "still mine"
    assert bed.dials == 1
    await comm.close()


async def test_a_flood_of_forged_resumes_harms_nobody(bed: Bed) -> None:
    comm = await bed.connect("ann")
    for number in range(50):
        assert await _hello(bed, "eve", Hello(number.to_bytes(NAME_BYTES), False, 0, 60)) is Kind.GONE
        await comm.write(number)
        assert await comm.read() == number
    assert len(bed.table) == 1
    await comm.close()


@pytest.mark.parametrize("garbage", [b"\x00" * 200, b"\xff" * 200, b"GET / HTTP/1.1\r\n\r\n"])
async def test_garbage_instead_of_a_hello(bed: Bed, garbage: bytes) -> None:
    comm = await bed.connect()
    reader, writer = await _open(bed, "eve")
    writer.write(garbage)
    assert await reader.read() == b""
    writer.transport.abort()
    await comm.write(1)
    assert await comm.read() == 1
    assert len(bed.table) == 1
    await comm.close()


async def test_a_session_that_is_resumed_twice_ends_the_older_connection(bed: Bed, eventually: Eventually) -> None:
    comm = await bed.connect()
    bed.table.redial()
    await eventually(lambda: bed.dials == 2)
    await comm.write("y")
    assert await comm.read() == "y"
    await comm.close()


async def test_please_redial_moves_a_busy_session(bed: Bed, eventually: Eventually) -> None:
    comm = await bed.connect()
    asked = 0
    for number in itertools.count():
        if number % 100 == 50:
            bed.table.redial()  # no news while the dial before goes on, which may take longer than a hundred messages
            asked += 1
        await comm.write(number)
        assert await comm.read() == number
        if number > 300 and bed.dials >= 4:
            break
    assert bed.dials <= 1 + asked
    # A connection may end before the hello of the next one is there.
    await eventually(lambda: len(bed.away) == len(bed.back))
    await comm.close()


async def test_a_peer_that_breaks_the_protocol_is_left(bed: Bed, eventually: Eventually) -> None:
    reader, writer = await _open(bed, "eve")
    writer.write(Hello(b"e" * NAME_BYTES, True, 0, 60).pack())
    writer.write(Header(Kind.DATA, 0, 1 << 40).pack())
    await reader.read()
    await eventually(lambda: len(bed.table) == 0)
    writer.transport.abort()


async def test_a_frame_for_which_there_is_no_memory_ends_its_session(bed: Bed, eventually: Eventually) -> None:
    reader, writer = await _open(bed, "eve")
    message = struct.pack("!IQ", 1, (1 << 64) - 1) + b"x"
    writer.write(Hello(b"e" * NAME_BYTES, True, 0, 60).pack())
    writer.write(Header(Kind.DATA, len(message), 0).pack() + message)
    await reader.read()
    await eventually(lambda: len(bed.table) == 0)
    writer.transport.abort()


async def test_a_dropped_comm_ends_its_session(bed: Bed, eventually: Eventually) -> None:
    comm = await bed.connect()
    await comm.write(1)
    await comm.read()
    del comm
    await eventually(lambda: len(bed.table) == 0 or bed.away)


def test_sessions_need_a_loop() -> None:
    with pytest.raises(RuntimeError):
        Session(b"n" * 16, lambda _: None, lambda _: None, lambda _: None)


async def _open(bed: Bed, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", bed.proxy.port, ssl=bed.authorities.client(name))


async def _hello(bed: Bed, name: str, hello: Hello) -> Kind:
    reader, writer = await _open(bed, name)
    writer.write(hello.pack())
    try:
        return Header.unpack(await reader.readexactly(HEADER_BYTES)).kind
    finally:
        writer.transport.abort()


async def test_the_certificate_is_demanded(bed: Bed) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    comm = await TLSConnector().connect(f"127.0.0.1:{bed.proxy.port}", ssl_context=context)
    with pytest.raises(CommClosedError, match=r"CERTIFICATE_REQUIRED|closed|reset"):
        await comm.read()


async def test_a_redial_that_cannot_succeed_leaves_the_older_connection(bed: Bed, eventually: Eventually) -> None:
    comm = await bed.connect()
    await comm.write(1)
    assert await comm.read() == 1
    bed.refusal = FatalCommClosedError("no such cluster")
    bed.table.redial()
    await eventually(lambda: bed.dials == 2)
    await comm.write(2)
    assert await comm.read() == 2
    await comm.close()


async def test_a_scheduler_that_asks_for_connections_all_the_time_gets_some(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "_DIALS_AT_ONCE", 3)
    monkeypatch.setattr(dialing, "_DIALS_PER_SECOND", 0.001)
    comm = await bed.connect()
    asked_in_vain = 0  # a dial may take longer than any number of messages
    for number in itertools.count():
        bed.table.redial()
        await comm.write(number)
        assert await comm.read() == number
        asked_in_vain += bed.dials >= 1 + 3
        if asked_in_vain == 100:
            break
    assert bed.dials == 1 + 3
    await comm.close()


async def test_clients_are_asked_to_redial_one_after_the_other(bed: Bed, eventually: Eventually) -> None:
    comms = [await bed.connect() for _ in range(5)]
    reading = [asyncio.create_task(comm.read()) for comm in comms]
    bed.table.redial(within=1e6)
    bed.table.redial(within=0.01)
    await eventually(lambda: bed.dials == 10)
    for number, comm in enumerate(comms):
        await comm.write(number)
    assert await asyncio.gather(*reading) == list(range(5))
    assert bed.dials == 10
    for comm in comms:
        await comm.close()
