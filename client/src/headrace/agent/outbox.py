"""What a scheduler's agent has to tell, gathered until it is sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from headrace.internal.v1 import agent_service_pb2 as pb

# Told again after each reconnect, as nothing tells whether a lost connection delivered them.
_RETIRED_REMEMBERED = 1000
_EVENTS_KEPT = 100


class Outbox:
    """Gathers changes; of what happens twice to one worker between two sendings only the last is told."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._joined: dict[str, str] = {}
        self._left: set[str] = set()
        self._retired: set[str] = set()
        self._ever_retired: deque[str] = deque(maxlen=_RETIRED_REMEMBERED)
        self._activity: pb.Activity | None = None
        self._wishes: dict[str, int] = {}
        self._events: deque[pb.AgentEvent] = deque(maxlen=_EVENTS_KEPT)

    def joined(self, process: str, address: str) -> None:
        self._left.discard(process)
        self._joined[process] = address
        self._changed.set()

    def left(self, process: str, *, retired: bool = False) -> None:
        self._joined.pop(process, None)
        self._left.add(process)
        if retired:
            self._retired.add(process)
            self._ever_retired.append(process)
        self._changed.set()

    def activity(self, activity: pb.Activity) -> None:
        self._activity = activity
        self._changed.set()

    def wish(self, group: str, size: int) -> None:
        self._wishes[group] = size
        self._changed.set()

    def event(self, kind: str, message: str, *, warning: bool = False) -> None:
        self._events.append(pb.AgentEvent(type=kind, message=message, warning=warning))
        self._changed.set()

    async def wait(self) -> None:
        """Waits until there is something to tell."""
        await self._changed.wait()

    def begin(self, hello: Callable[[], pb.SchedulerHello]) -> pb.SessionRequest:
        """Starts a session: the whole state stands for all changes before."""
        self._joined.clear()
        self._left.clear()
        self._activity = None
        self._retired = set(self._ever_retired)
        if self._retired:
            self._changed.set()
        return pb.SessionRequest(hello=hello())

    def take(self) -> Iterator[pb.SessionRequest]:
        """Empties the box."""
        self._changed.clear()
        if self._joined or self._left or self._retired or self._activity is not None:
            change = pb.SchedulerChange(
                joined=[pb.JoinedWorker(process=p, address=a) for p, a in self._joined.items()],
                left=sorted(self._left),
                retired=sorted(self._retired),
                activity=self._activity,
            )
            self._joined, self._left, self._retired, self._activity = {}, set(), set(), None
            yield pb.SessionRequest(change=change)
        wishes, self._wishes = self._wishes, {}
        for group, size in wishes.items():
            yield pb.SessionRequest(adaptive_wish=pb.AdaptiveWish(group=group, size=size))
        while self._events:
            yield pb.SessionRequest(event=self._events.popleft())
