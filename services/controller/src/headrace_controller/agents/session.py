"""One agent's session: its reports go to the store, and it receives instructions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace

from google.protobuf.message import DecodeError

from headrace.backoff import delays
from headrace.errors import ClusterNotFound, HeadraceError, InternalError, InvalidRequest, StoreUnavailable
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace.v1.enums import EventType
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.agents import reports
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.agents.instructions import instructions, same_instructions
from headrace_controller.agents.pace import Paces
from headrace_controller.agents.report_writer import ReportWriter
from headrace_controller.agents.scale_requests import ScaleRequests
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, Severity
from headrace_controller.store import Store

log = logs.get_logger()
_MAX_MESSAGE = 1024

_EVENT_TYPES = {cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED: EventType.RETIREMENT_DELAYED}
"""What an agent may report as an event. Everything else that happens is for the controller to record."""

_SEVERITIES = {
    cluster_pb2.SEVERITY_INFO: Severity.INFO,
    cluster_pb2.SEVERITY_WARNING: Severity.WARNING,
    cluster_pb2.SEVERITY_ERROR: Severity.ERROR,
}


class AgentSession:
    """From the hello to the end of the stream.

    Parameters
    ----------
    cluster
        The record, as the store had it when the session started.
    first
        First message of the stream. Raises `InvalidRequest` if it is no hello.
    replica
        Name of this replica.
    adopt
        Rebuilds the record if the store has lost it; returns whether there is one again.
    silence_seconds
        Time without a message after which the scheduler's event loop counts as silent, if its agent sends heartbeats.
    """

    def __init__(
        self,
        cluster: Cluster,
        first: pb.SessionRequest,
        *,
        replica: str,
        store: Store,
        mirror: ClusterMirror,
        events: AgentEvents,
        scale_requests: ScaleRequests,
        paces: Paces,
        adopt: Callable[[str], Awaitable[bool]],
        clock: Callable[[], float],
        silence_seconds: float,
    ) -> None:
        self.number = reports.check_hello(first).session
        self._cluster = cluster
        self._mirror = mirror
        self._events = events
        self._scale_requests = scale_requests
        self._paces = paces
        self._silence_seconds = silence_seconds
        self._removes_ended = first.hello.removes_ended
        self._beats = 0 < first.hello.heartbeat_seconds <= silence_seconds / 2
        self._heard = time.monotonic()
        self._wanted_sizes: dict[str, int] = {}
        self._size_wanted = asyncio.Event()
        self._clock = clock
        report = reports.after_hello(cluster, first, clock(), holder=replica)
        metrics.UNKNOWN_WORKERS.inc(len({worker.process for worker in first.hello.workers} - cluster.workers.keys()))
        self._writer = ReportWriter(cluster, report, store=store, mirror=mirror, adopt=adopt, pace=paces.reports)
        self._instructed: Cluster | None = None
        self._sent: pb.SessionResponse | None = None
        self._redial = False
        self._news = asyncio.Event()
        self._half_closed = False
        self._error: HeadraceError | None = None

    @property
    def saved(self) -> bool:
        """Whether the store has all that was reported."""
        return self._writer.saved

    def accept(self, cluster: Cluster | None) -> None:
        """Takes over the record as it is now; None means that the store has lost it."""
        self._cluster = cluster or self._cluster
        self._writer.accept(cluster)
        self._news.set()

    def redial(self) -> None:
        """Has the scheduler ask its clients to connect again."""
        self._redial = True
        self._news.set()

    def end(self, error: HeadraceError) -> None:
        """Ends the stream with an error."""
        self._error = self._error or error
        self._news.set()

    async def serve(self, requests: AsyncIterator[pb.SessionRequest]) -> AsyncGenerator[pb.SessionResponse]:
        """Yields instructions whenever they change; ends once the agent has closed its side and all is saved."""
        work = (self._read(requests), self._writer.run(), self._scale(), self._watch())
        tasks = [asyncio.create_task(self._guard(one)) for one in work]
        try:
            while True:
                self._news.clear()
                if self._error is not None:
                    raise self._error
                if self._writer.saved and (instruction := self._next()) is not None:
                    yield instruction
                elif self._writer.saved and self._half_closed:
                    return
                else:
                    await self._news.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _next(self) -> pb.SessionResponse | None:
        """The instructions, if the agent has not received them yet."""
        redial, self._redial = self._redial, False
        before, self._instructed = self._instructed, self._cluster
        if not redial and before is not None and same_instructions(before, self._cluster):
            return None
        sent, self._sent = self._sent, instructions(self._cluster, removes_ended=self._removes_ended, redial=redial)
        return self._sent if redial or self._sent != sent else None

    async def disconnect(self, since: float) -> None:
        """Saves that the agent is away since then, unless a newer session has started."""
        await self._writer.disconnect(since)

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except HeadraceError as error:
            self.end(error)
        except DecodeError:
            self.end(InvalidRequest("a message of the stream is not valid protobuf"))
        except Exception:
            log.exception("a session failed", cluster=self._cluster.id)
            self.end(InternalError("the session failed; the controller's log has more"))

    async def _read(self, requests: AsyncIterator[pb.SessionRequest]) -> None:
        async for request in requests:
            self._hear()
            await self._paces.messages.wait(self._cluster.id)
            await self._apply(request)
        self._half_closed = True
        self._news.set()

    def _hear(self) -> None:
        self._heard = time.monotonic()
        if self._writer.report.silent_since is not None:
            self._writer.merge(replace(self._writer.report, silent_since=None))

    async def _watch(self) -> None:
        """Reports when the scheduler's event loop falls silent. Its connection does not show that: gRPC has threads."""
        while self._beats:
            await asyncio.sleep(max(0.0, self._heard + self._silence_seconds - time.monotonic()))
            # If it was this process that stood still, what it has missed is read first.
            await asyncio.sleep(self._silence_seconds / 10)
            silent = time.monotonic() - self._heard
            if silent >= self._silence_seconds and self._writer.report.silent_since is None:
                self._writer.merge(replace(self._writer.report, silent_since=self._clock() - silent))

    async def _apply(self, request: pb.SessionRequest) -> None:
        match request.WhichOneof("report"):
            case "change":
                await self._find_workers(request.change)
                report = reports.after_change(self._cluster, self._writer.report, request, self._clock())
                self._writer.merge(report)
            case "closing":
                self._writer.merge(reports.after_closing(self._writer.report, request))
            case "scale_request":
                self._want_size(request.scale_request)
            case "event":
                await self._record(request.event)
            case _:
                pass  # a heartbeat, or from a newer agent

    async def _find_workers(self, change: pb.SchedulerChange) -> None:
        """Waits until the record here has the workers that another replica has created; the others do not count."""
        joined = {worker.process for worker in change.joined}
        if joined <= self._cluster.workers.keys():
            return
        for pause in delays(0.05, 1.0):
            try:
                await self._mirror.fresh()
                break
            except StoreUnavailable:
                await asyncio.sleep(pause)
        metrics.UNKNOWN_WORKERS.inc(len(joined - self._cluster.workers.keys()))

    def _want_size(self, request: pb.ScaleRequest) -> None:
        """Of each group, the size that it was asked for last counts."""
        if self._cluster.spec.group(request.group):
            self._wanted_sizes[request.group] = request.size
            self._size_wanted.set()

    async def _scale(self) -> None:
        while True:
            await self._size_wanted.wait()
            await self._paces.targets.wait(self._cluster.id)
            self._size_wanted.clear()
            wanted, self._wanted_sizes = self._wanted_sizes, {}
            # A worker that has joined, and may have results, must not be taken for one that is still to start.
            await self._writer.caught_up()
            for group, size in wanted.items():
                try:
                    await self._scale_requests.apply(self._cluster, group, size)
                except (StoreUnavailable, ClusterNotFound) as error:  # the agent repeats what was not granted
                    log.warning("a scale request is lost", cluster=self._cluster.id, error=str(error))

    async def _record(self, reported: pb.AgentEvent) -> None:
        if (kind := _EVENT_TYPES.get(reported.type)) is None:
            return
        severity = _SEVERITIES.get(reported.severity, Severity.INFO)
        await self._events.add(self._cluster, kind, reported.message[:_MAX_MESSAGE], severity)
