"""The bytes that go one way: kept by reference until the peer has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from headrace._resumable.records import ProtocolError


class Outgoing:
    """A stream of bytes from its first unacknowledged byte on. It does no I/O.

    Attributes
    ----------
    acknowledged
        Bytes that the peer has, counted from the start of the session.
    sent
        Bytes that were handed to the present connection or acknowledged.
    end
        Bytes that were appended.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.sent = 0
        self.end = 0
        self._once_sent = 0
        self._unacknowledged: deque[memoryview] = deque()
        self._unsent: deque[memoryview] = deque()

    @property
    def kept(self) -> int:
        """Bytes that are kept: sent or not, and not acknowledged."""
        return self.end - self.acknowledged

    def append(self, views: Iterable[memoryview]) -> None:
        """Add bytes at the end. They must not change until they are acknowledged."""
        for view in views:
            if view.nbytes:
                self._unsent.append(view)
                self.end += view.nbytes

    def take(self, limit: int) -> list[memoryview]:
        """Return the next bytes to send, at most `limit` of them; they count as sent."""
        taken: list[memoryview] = []
        while self._unsent and limit:
            view = self._unsent.popleft()
            if view.nbytes > limit:
                self._unsent.appendleft(view[limit:])
                view = view[:limit]
            taken.append(view)
            limit -= view.nbytes
            self.sent += view.nbytes
        self._unacknowledged.extend(taken)
        return taken

    def acknowledge(self, received: int) -> None:
        """Drop what the peer has received; raises `ProtocolError` if it cannot have received so much, or had more."""
        if not self.acknowledged <= received <= self.sent:
            raise ProtocolError(f"{received} bytes acknowledged, not {self.acknowledged} to {self.sent}")
        drop = received - self.acknowledged
        while drop:
            view = self._unacknowledged.popleft()
            if view.nbytes > drop:
                self._unacknowledged.appendleft(view[drop:])
                break
            drop -= view.nbytes
        self.acknowledged = received

    def resume(self, received: int) -> None:
        """Begin a connection to a peer that has received so much; raises `ProtocolError` as `acknowledge` does.

        The peer may have received, on a connection before the present one, more than was sent on the present one.
        """
        self._once_sent = max(self._once_sent, self.sent)
        if self.sent < received <= self._once_sent:
            self.take(received - self.sent)
        self.acknowledge(received)
        self._unsent.extendleft(reversed(self._unacknowledged))
        self._unacknowledged.clear()
        self.sent = received
