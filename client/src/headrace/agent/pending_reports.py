"""Reports of a scheduler's agent that have not been sent yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.agent.scheduler_state import to_send
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2

# Retired workers are reported again after each reconnect, as a lost connection may not have delivered them.
_RETIRED_REMEMBERED = 1000
_EVENTS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Departure:
    """What a worker took with it, and how its process ended.

    Attributes
    ----------
    tasks, results, scattered
        Numbers of tasks, results and pieces of scattered data.
    memory_limit
        Bytes that its process exceeded; 0 if it did not.
    exit_code
        Of its process, negative for a signal; 0 if unknown or as intended.
    """

    tasks: int = 0
    results: int = 0
    scattered: int = 0
    memory_limit: int = 0
    exit_code: int = 0

    def __bool__(self) -> bool:
        return self != NOTHING_LOST

    def __add__(self, later: Departure) -> Departure:
        return Departure(
            self.tasks + later.tasks,
            self.results + later.results,
            self.scattered + later.scattered,
            later.memory_limit or self.memory_limit,
            later.exit_code or self.exit_code,
        )


NOTHING_LOST = Departure()


class PendingReports:
    """Gathers changes until they are sent; of each worker only its last state is sent, and all of its losses."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._joined: dict[str, str] = {}
        self._left: dict[str, Departure] = {}
        self._being_written: dict[str, Departure] = {}
        self._retired: deque[str] = deque(maxlen=_RETIRED_REMEMBERED)
        self._activity: pb.Activity | None = None
        self._scale_requests: dict[str, int] = {}
        self._events: deque[pb.AgentEvent] = deque(maxlen=_EVENTS_KEPT)
        self._closing: cluster_pb2.EndReason.ValueType | None = None

    def add_joined(self, process: str, address: str) -> None:
        self._joined[process] = address
        if self._left.get(process) == NOTHING_LOST:
            del self._left[process]
        self._changed.set()

    def add_left(self, process: str, departure: Departure = NOTHING_LOST, *, retired: bool = False) -> None:
        self._joined.pop(process, None)
        self._left[process] = self._left.get(process, NOTHING_LOST) + departure
        if retired:
            self._retired.append(process)
        self._changed.set()

    def set_activity(self, activity: pb.Activity) -> None:
        self._activity = activity
        self._changed.set()

    def set_scale_request(self, group: str, size: int) -> None:
        self._scale_requests[group] = size
        self._changed.set()

    def add_event(
        self, kind: cluster_pb2.EventType.ValueType, severity: cluster_pb2.Severity.ValueType, message: str
    ) -> None:
        self._events.append(pb.AgentEvent(type=kind, severity=severity, message=message))
        self._changed.set()

    def set_closing(self, reason: cluster_pb2.EndReason.ValueType) -> None:
        """Reports last, in each session from now on, that the scheduler is about to end."""
        self._closing = reason
        self._changed.set()

    async def wait(self, seconds: float) -> bool:
        """Waits until there is something to send, at most for so long; returns whether there is."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def start_session(self, hello: Callable[[], pb.SchedulerHello]) -> pb.SessionRequest:
        """Returns the first message of a session: the whole state, which replaces all changes but losses.

        What the previous session was writing when it ended counts as not reported.
        """
        request = pb.SessionRequest(hello=hello())
        present = {worker.process: worker.address for worker in request.hello.workers}
        for process, departure in self._being_written.items():
            self._left[process] = departure + self._left.get(process, NOTHING_LOST)
        self._being_written = {}
        self._left = {process: departure for process, departure in self._left.items() if departure}
        self._left |= {process: NOTHING_LOST for process in self._retired if process not in self._left}
        self._joined = {process: present[process] for process in self._left if process in present}
        self._activity = None
        if self._left or self._events or self._closing is not None:
            self._changed.set()
        return request

    def take(self) -> Iterator[pb.SessionRequest]:
        """Removes and yields all messages, each to be written before the next is asked for; a `closing` is the last."""
        self._changed.clear()
        if self._joined or self._left or self._activity is not None:
            self._being_written = self._left
            yield pb.SessionRequest(change=self._take_change())
            self._being_written = {}
        requests, self._scale_requests = self._scale_requests, {}
        for group, size in requests.items():
            yield pb.SessionRequest(scale_request=pb.ScaleRequest(group=group, size=size))
        while self._events:
            event = self._events[0]
            yield pb.SessionRequest(event=event)
            if self._events[0] is event:  # else it had to make room for another
                self._events.popleft()
        if self._closing is not None and not self._changed.is_set():  # else what has come meanwhile goes first
            yield pb.SessionRequest(closing=pb.SchedulerClosing(reason=self._closing))

    def _take_change(self) -> pb.SchedulerChange:
        retired = set(self._retired)
        change = pb.SchedulerChange(
            joined=[pb.JoinedWorker(process=process, address=address) for process, address in self._joined.items()],
            left=[
                pb.LeftWorker(
                    process=process,
                    retired=process in retired,
                    tasks_lost=departure.tasks,
                    results_lost=departure.results,
                    scattered_lost=departure.scattered,
                    memory_limit_bytes=departure.memory_limit,
                    exit_code=departure.exit_code,
                )
                for process, departure in self._left.items()
            ],
            activity=to_send(self._activity) if self._activity is not None else None,
        )
        self._joined, self._left, self._activity = {}, {}, None
        return change
