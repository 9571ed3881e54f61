"""One agent's session: merges what it tells into the record, and hears what it is to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from headrace.errors import (
    ClusterEnded,
    ClusterNotFound,
    FencedOff,
    HeadraceError,
    InvalidRequest,
    StoreUnavailable,
    Violation,
)
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_chassis import logs
from headrace_chassis.backoff import delays
from headrace_controller.agents import reports
from headrace_controller.agents.instructions import instructions
from headrace_controller.agents.wishes import Clipped, Wishes
from headrace_controller.model import Cluster, Event, Report, Severity
from headrace_controller.store import Store

log = logs.get_logger()
_MOST_TEXT = 1024


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What a session needs of its replica; `replica` is its name."""

    replica: str
    store: Store
    wishes: Wishes
    adopt: Callable[[str], Awaitable[bool]]
    changed: Callable[[Cluster], None]
    clock: Callable[[], float]


class AgentSession:
    """From the hello to the end of the stream. Messages that come while one report is saved are saved together."""

    def __init__(self, cluster: Cluster, first: pb.SessionRequest, context: SessionContext) -> None:
        if first.WhichOneof("report") != "hello" or first.hello.session <= 0:
            raise InvalidRequest.of(Violation("hello", "the first message must be a hello with its session's number"))
        self._context = context
        self._cluster = cluster
        self._report = self._after_hello(cluster.report, first)
        self._unsaved = True
        self._stale = False
        self._work = asyncio.Event()
        self._work.set()
        self._news = asyncio.Event()
        self._end: HeadraceError | None = None
        self._finished = False
        self._clipped: dict[str, Clipped] = {}

    @property
    def number(self) -> int:
        """Of two sessions of a cluster, the one with the greater number counts."""
        return self._report.session

    def look(self, revision: int) -> None:
        """The record has changed at another replica, to this revision; the first one: it was lost and made anew."""
        if revision > self._cluster.revision:
            self._stale = True
            self._work.set()
        elif revision == 1 < self._cluster.revision:
            self.renew(replace(self._cluster, revision=1))

    def take(self, cluster: Cluster) -> None:
        """The record has changed, to this."""
        if cluster.revision > self._cluster.revision:
            self._cluster = cluster
            self._news.set()
            if cluster.report.session > self.number:
                self.end(replaced(cluster.id))

    def renew(self, cluster: Cluster) -> None:
        """The store had lost the record and has this one now: all that was reported is to be told again."""
        self._cluster = cluster
        self._merge(replace(self._report))  # another object, so that a save under way does not count

    def end(self, error: HeadraceError) -> None:
        """Ends the stream with an error."""
        self._end = self._end or error
        self._news.set()

    async def serve(self, requests: AsyncIterator[pb.SessionRequest]) -> AsyncGenerator[pb.SessionResponse]:
        """Yields instructions whenever they change, until the agent leaves or the session is ended."""
        tasks = [asyncio.create_task(self._guard(self._read(requests))), asyncio.create_task(self._guard(self._save()))]
        try:
            sent: pb.SessionResponse | None = None
            while not self._finished or self._unsaved:
                self._news.clear()
                if self._end is not None:
                    raise self._end
                if not self._unsaved and (wanted := instructions(self._cluster)) != sent:
                    sent = wanted
                    yield wanted
                else:
                    await self._news.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def disconnect(self) -> None:
        """Notes that the agent is away, unless a newer session has begun; waits for a store that is away."""
        report = replace(self._report, connected=False, changed=self._context.clock())
        for pause in delays(0.05, 1.0):
            try:
                self._context.changed(await self._context.store.save_report(self._cluster.id, report))
            except (FencedOff, ClusterEnded, ClusterNotFound):
                return
            except StoreUnavailable:
                await asyncio.sleep(pause)
            else:
                return

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except HeadraceError as error:
            self.end(error)

    async def _read(self, requests: AsyncIterator[pb.SessionRequest]) -> None:
        async for request in requests:
            await self._take(request)
        self._finished = True
        self._news.set()

    async def _take(self, request: pb.SessionRequest) -> None:
        match request.WhichOneof("report"):
            case "change":
                self._merge(reports.after_change(self._report, request.change, request.sequence))
            case "hello":
                self._merge(self._after_hello(self._report, request))
            case "adaptive_wish":
                await self._wish(request.adaptive_wish)
            case "event":
                await self._tell(request.event)
            case _:
                pass  # from a newer agent

    def _after_hello(self, old: Report, request: pb.SessionRequest) -> Report:
        now, replica = self._context.clock(), self._context.replica
        return reports.after_hello(old, request.hello, request.sequence, now, holder=replica)

    def _merge(self, report: Report) -> None:
        self._report = report
        self._unsaved = True
        self._work.set()

    async def _wish(self, wish: pb.AdaptiveWish) -> None:
        try:
            clipped = await self._context.wishes.adopt(self._cluster, wish.group, wish.size)
            if clipped and self._clipped.get(wish.group) != clipped:
                await self._context.wishes.tell(self._cluster, wish.group, clipped)
        except (StoreUnavailable, ClusterNotFound) as error:
            log.warning("an adaptive wish is lost", cluster=self._cluster.id, error=str(error))
            return
        if clipped:
            self._clipped[wish.group] = clipped
        else:
            self._clipped.pop(wish.group, None)

    async def _tell(self, told: pb.AgentEvent) -> None:
        event = Event(
            type=told.type[:64],
            message=told.message[:_MOST_TEXT],
            severity=Severity.WARNING if told.warning else Severity.INFO,
            time=self._context.clock(),
        )
        try:
            await self._context.store.add_event(self._cluster.id, self._cluster.owner, event)
        except (StoreUnavailable, ClusterNotFound) as error:
            log.warning("an agent's event is lost", cluster=self._cluster.id, error=str(error))

    async def _save(self) -> None:
        pauses = delays(0.05, 1.0)
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._save_once()
                pauses = delays(0.05, 1.0)
            except StoreUnavailable:
                await asyncio.sleep(next(pauses))
                self._work.set()

    async def _save_once(self) -> None:
        if self._unsaved:
            report = self._report = reports.without_closed(self._report, self._cluster)
            if (cluster := await self._saved(report)) is None:
                return
            self._unsaved = self._report is not report
            self._news.set()
        elif self._stale:
            self._stale = False
            cluster = await self._context.store.get(self._cluster.id)
        else:
            return
        self.take(cluster)
        self._context.changed(cluster)

    async def _saved(self, report: Report) -> Cluster | None:
        store, cluster = self._context.store, self._cluster.id
        try:
            return await store.save_report(cluster, report)
        except ClusterEnded:
            return await store.get(cluster)
        except ClusterNotFound:
            if not await self._context.adopt(cluster):
                raise
            self._work.set()
            return None


def replaced(cluster: str) -> FencedOff:
    """The error of a session that a newer one of the same cluster has replaced."""
    return FencedOff(f"a newer session of cluster {cluster} has begun")
