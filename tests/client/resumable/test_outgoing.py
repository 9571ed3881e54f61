"""The state of one direction, against a channel that loses, delays and cuts (hypothesis)."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace._resumable.outgoing import Outgoing
from headrace._resumable.records import Header, Hello, Kind, ProtocolError, unpack_gone, unpack_welcome


class LossyChannel(RuleBasedStateMachine):
    """Two ends, a channel in each direction that may lose its tail at any time, and a model of what must arrive."""

    @initialize()
    def begin(self) -> None:
        self.outgoing = Outgoing()
        self.written = bytearray()
        self.arrived = bytearray()
        self.data: deque[bytes] = deque()
        self.acknowledgements: deque[int] = deque()
        self.connected = True

    @rule(data=st.binary(max_size=20))
    def write(self, data: bytes) -> None:
        self.written += data
        self.outgoing.append([memoryview(data)])

    @precondition(lambda self: self.connected)
    @rule(limit=st.integers(1, 30))
    def send(self, limit: int) -> None:
        self.data.extend(bytes(view) for view in self.outgoing.take(limit))

    @precondition(lambda self: self.connected and self.data)
    @rule(size=st.integers(1, 30))
    def receive(self, size: int) -> None:
        piece = self.data.popleft()
        if len(piece) > size:
            self.data.appendleft(piece[size:])
        self.arrived += piece[:size]

    @precondition(lambda self: self.connected)
    @rule()
    def acknowledge(self) -> None:
        self.acknowledgements.append(len(self.arrived))

    @precondition(lambda self: self.connected and self.acknowledgements)
    @rule()
    def hear(self) -> None:
        self.outgoing.acknowledge(self.acknowledgements.popleft())

    @precondition(lambda self: self.connected)
    @rule()
    def break_off(self) -> None:
        self.connected = False
        self.data.clear()
        self.acknowledgements.clear()

    @precondition(lambda self: not self.connected)
    @rule()
    def resume(self) -> None:
        self.outgoing.resume(len(self.arrived))
        self.connected = True

    @invariant()
    def each_byte_arrives_once_and_in_order(self) -> None:
        assert self.written.startswith(self.arrived)

    @invariant()
    def only_what_may_be_needed_is_kept(self) -> None:
        assert self.outgoing.kept == len(self.written) - self.outgoing.acknowledged
        assert self.outgoing.acknowledged <= len(self.arrived) or not self.connected

    def teardown(self) -> None:
        if not hasattr(self, "outgoing"):
            return
        if not self.connected:
            self.resume()
        while self.outgoing.sent < self.outgoing.end:
            self.send(7)
        while self.data:
            self.receive(5)
        assert self.arrived == self.written


TestLossyChannel = LossyChannel.TestCase
TestLossyChannel.settings = settings(max_examples=100, stateful_step_count=60)


@pytest.mark.parametrize("received", [-1, 1, 4, 11])
def test_what_a_peer_cannot_have_received_is_refused(received: int) -> None:
    outgoing = Outgoing()
    outgoing.append([memoryview(b"0123456789")])
    outgoing.take(3)
    outgoing.acknowledge(2)
    with pytest.raises(ProtocolError):
        outgoing.acknowledge(received)
    assert (outgoing.acknowledged, outgoing.kept) == (2, 8)


def test_frames_are_kept_by_reference() -> None:
    outgoing, frame = Outgoing(), bytearray(100)
    outgoing.append([memoryview(frame)])
    outgoing.take(60)
    outgoing.resume(30)
    views = outgoing.take(100)
    assert all(view.obj is frame for view in views)
    assert sum(view.nbytes for view in views) == 70


@pytest.mark.parametrize("data", [b"\xff" * 13, b"\x00" + b"\xff" * 12, b"\x09" + b"\x00" * 12])
def test_a_header_that_cannot_be(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Header.unpack(data)


def test_hellos_and_answers() -> None:
    hello = Hello(b"n" * 16, True, 5, 60)
    record = hello.pack()
    header = Header.unpack(record[:13])
    assert Hello.unpack(header, record[13:]) == hello
    with pytest.raises(ProtocolError):
        Hello.unpack(Header(Kind.DATA, header.length, 0), record[13:])
    with pytest.raises(ProtocolError):
        unpack_welcome(b"")
    assert len(unpack_gone(b"\xff" * 1000)) == 200
