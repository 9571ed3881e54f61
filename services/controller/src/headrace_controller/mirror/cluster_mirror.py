"""The records of all clusters, as an informer: read once, kept up to date, with handlers for what changes."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Protocol

from headrace.errors import StoreUnavailable
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.mirror.coalesced import Coalesced
from headrace_controller.mirror.index import Index
from headrace_controller.mirror.tail import Tail
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store import Change, ChangeKind, Store, Topic, Unreadable
from headrace_controller.store.reads import Found
from headrace_controller.store.values import shown

log = logs.get_logger()
_BATCH = 50
# By then the stream has long delivered what was written before, or the store is slow.
_FRESH_SECONDS = 5.0
_AFTER_RESTART = 2**63
_RECORD = {ChangeKind.RECORD, ChangeKind.REPORT}


class Handler(Protocol):
    """Hears of every difference of a record, once. Calls are synchronous and must not block."""

    def added(self, cluster: Cluster, /) -> None: ...
    def updated(self, old: Cluster, new: Cluster, /) -> None: ...
    def removed(self, cluster: Cluster, /) -> None: ...


class ClusterMirror:
    """Reads are answered from memory. `changes` has an entry only once its record is here.

    A record that this release cannot read is set aside: what was known of it before, if anything, stays as it was.

    Attributes
    ----------
    ready
        Set once all records were read; nothing may be concluded before.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clusters: dict[ClusterId, Cluster] = {}
        self._set_aside: dict[ClusterId, UserId] = {}  # owners of the records that cannot be read
        self._index = Index()
        self._versions: dict[UserId | None, int] = {}
        self._handlers: list[Handler] = []
        self._besides: list[Callable[[], Awaitable[None]]] = []
        self._through = 0  # every write up to this revision is here
        self._restarts = 0
        self._unconfirmed: list[tuple[int, ClusterId]] = []  # heap of known writes that the stream must still have
        self._newest = 0  # newest revision of any record here
        self._latest = Coalesced(store.reads.version)
        self._behind: list[tuple[int, int, asyncio.Future[None]]] = []  # heap of revisions that are waited for
        self._numbers = count()
        self._awaited: dict[ClusterId, set[asyncio.Future[None]]] = {}
        self.ready = asyncio.Event()
        self.changes = Tail(store.changes, topics=_topics, restart=self._read_all, prepare=self._follow)

    def connect(self, handler: Handler) -> None:
        """Adds a handler; they hear in the order in which they were connected."""
        self._handlers.append(handler)

    def read_besides(self, read: Callable[[], Awaitable[None]]) -> None:
        """Has something else read whenever all records are: before `ready`, and after a gap in the changes."""
        self._besides.append(read)

    async def run(self) -> None:
        """Follows the store until cancelled."""
        await self.changes.run()

    def get(self, cluster: ClusterId) -> Cluster | None:
        """Returns the newest known record."""
        return self._clusters.get(cluster)

    def set_aside(self, cluster: ClusterId) -> UserId | None:
        """Returns the owner of a record that cannot be read ("": that neither); None: it can be, or there is none."""
        return self._set_aside.get(cluster)

    def ids(
        self, owner: UserId | None = None, *, living: bool | None = None, before: int | None = None
    ) -> Sequence[ClusterId]:
        """Returns the ids of an owner's (None: all) clusters, newest first; `before`: only those of smaller places."""
        return self._index.ids(owner, living, before)

    def ids_of(
        self,
        owner: UserId,
        members: Iterable[str],
        groups: Iterable[str],
        *,
        living: bool | None = None,
        before: int | None = None,
    ) -> Sequence[ClusterId]:
        """Returns, newest first, what is the owner's, shared with one of the members, or of an owner in the groups."""
        return self._index.ids_of(owner, members, groups, living, before)

    def place(self, cluster: ClusterId) -> int:
        """Returns the number by which lists are sorted."""
        return self._index.place(cluster)

    def by_alias(self, owner: UserId, alias: str) -> ClusterId | None:
        """Returns the owner's cluster of that alias, unless it is stopping."""
        return self._index.by_alias(owner, alias)

    def version(self, owner: UserId | None = None) -> int:
        """Returns a number that grows as an owner's (None: anybody's) clusters, or their order, change visibly."""
        return self._versions.get(owner, 0)

    def apply(self, cluster: Cluster, *, by: Handler | None = None) -> None:
        """Takes over a record that this replica has written; the handler that wrote it is not called."""
        old = self._clusters.get(cluster.id)
        if old is None:  # just created, so that its revision is its first
            self._put(None, cluster, cluster.revision, by)
        elif cluster.revision > old.revision:
            self._put(old, cluster, self.place(cluster.id), by)

    async def fresh(self) -> None:
        """Returns once every write that was acknowledged before the call is here. Raises `StoreUnavailable`."""
        while not await self._catch_up():
            pass

    async def at_least(self, cluster: ClusterId, revision: int, within: float) -> Cluster | None:
        """Returns a cluster at this revision or a later one; None if that is not here in time or was removed."""
        if not self._has(cluster, revision):
            try:
                async with asyncio.timeout(within):
                    while not self._has(cluster, revision):
                        await self._news(cluster)
            except TimeoutError:
                return None
        return self.get(cluster)

    async def verify(self, clusters: Sequence[ClusterId]) -> None:
        """Compares records with the store and repairs those that differ."""
        await self._read(clusters, whole=True)

    async def _read_all(self) -> None:
        """Reads what differs from the store, and drops what the store does not have."""
        through = await self._latest()
        unlisted = {*self._clusters, *self._set_aside}
        listed = await self._store.reads.ids()
        unlisted.difference_update(listed)
        for start in range(0, len(listed), _BATCH):
            await self._read(listed[start : start + _BATCH], whole=True)
        for cluster in unlisted:
            self._accept(cluster, None)
        for read in self._besides:
            await read()
        self._through = through
        self._newest = max((cluster.revision for cluster in self._clusters.values()), default=0)
        self._unconfirmed = sorted(write for write in self._unconfirmed if write[0] > through)
        self._restarts += 1
        self.ready.set()
        self._release(_AFTER_RESTART)

    async def _follow(self, changes: Sequence[Change]) -> None:
        """Reads the records that entries of the change stream are about, in one round trip."""
        revisions = {change.revision for change in changes}
        await self._read(self._lost_writes(revisions), whole=True)
        newest = {change.cluster: change.revision for change in changes if change.kind in _RECORD}
        await self._read([cluster for cluster, revision in newest.items() if self._is_older(cluster, revision)])
        for change in changes:
            if change.kind is ChangeKind.REMOVED and self._is_older(change.cluster, change.revision):
                self._accept(change.cluster, None)
        self._through = max(self._through, *revisions)
        self._release(self._through)

    def _lost_writes(self, revisions: set[int]) -> list[ClusterId]:
        """Clusters with a write that the stream does not have, though it has later ones."""
        through, lost = max(revisions), dict[ClusterId, None]()
        while self._unconfirmed and self._unconfirmed[0][0] <= through:
            revision, cluster = heapq.heappop(self._unconfirmed)
            if revision > self._through and revision not in revisions:
                lost[cluster] = None
        return list(lost)

    async def _read(self, clusters: Sequence[ClusterId], *, whole: bool = False) -> None:
        before = {cluster: self._clusters.get(cluster) for cluster in clusters}
        seen = {cluster: None if cluster in self._set_aside else known for cluster, known in before.items()}
        for cluster, found in (await self._store.reads.differing(seen, whole=whole)).items():
            if self._clusters.get(cluster) is before[cluster]:
                self._accept(cluster, found)
            elif found is not None and not isinstance(found, Unreadable):  # this replica has written it meanwhile
                self.apply(found.cluster)

    def _accept(self, cluster: ClusterId, found: Found) -> None:
        if isinstance(found, Unreadable):
            self._put_aside(cluster, found)
            return
        self._take_back(cluster)
        if found is None:
            self._remove(cluster)
        else:
            self._put(self._clusters.get(cluster), found.cluster, found.place)

    def _put_aside(self, cluster: ClusterId, found: Unreadable) -> None:
        if cluster not in self._set_aside:
            log.error("a record cannot be read and is set aside", cluster=cluster, owner=found.owner, error=found.error)
        self._set_aside[cluster] = found.owner
        metrics.UNREADABLE_RECORDS.set(len(self._set_aside))

    def _take_back(self, cluster: ClusterId) -> None:
        if self._set_aside.pop(cluster, None) is not None:
            metrics.UNREADABLE_RECORDS.set(len(self._set_aside))

    def _put(self, old: Cluster | None, new: Cluster, place: int, by: Handler | None = None) -> None:
        self._clusters[new.id] = new
        if new.revision > self._through:
            heapq.heappush(self._unconfirmed, (new.revision, new.id))
        self._newest = max(self._newest, new.revision)
        if old is None or self.place(new.id) != place or _differ_visibly(old, new):
            self._count_version(new.owner)
        self._index.put(old, new, place)
        for handler in self._handlers:
            if handler is not by:
                with _logged(new.id):
                    handler.added(new) if old is None else handler.updated(old, new)
        self._announce(new.id)

    def _remove(self, cluster: ClusterId) -> None:
        if (old := self._clusters.pop(cluster, None)) is None:
            return
        self._index.discard(old)
        self._count_version(old.owner)
        for handler in self._handlers:
            with _logged(cluster):
                handler.removed(old)
        self._announce(cluster)

    def _has(self, cluster: ClusterId, revision: int) -> bool:
        """Whether this revision of a cluster is here, if there is one."""
        return self._through >= revision or not self._is_older(cluster, revision)

    def _is_older(self, cluster: ClusterId, revision: int) -> bool:
        known = self._clusters.get(cluster)
        return known is None or known.revision < revision

    def _count_version(self, owner: UserId) -> None:
        for whose in (None, owner):
            self._versions[whose] = self.version(whose) + 1

    async def _catch_up(self) -> bool:
        """Waits for the store's latest write; returns False if everything was read again meanwhile: ask again."""
        restarts, known = self._restarts, max(self._through, self._newest)
        latest = await self._latest()
        if restarts == self._restarts and latest < known:  # the store has lost writes
            self.changes.invalidate()
            await self._reach(_AFTER_RESTART)
        elif restarts == self._restarts and latest > self._through:
            await self._reach(latest)
        return restarts == self._restarts

    async def _reach(self, revision: int) -> None:
        """Waits until every write up to a revision is here, or everything was read again."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._behind, (revision, next(self._numbers), reached))
        try:
            async with asyncio.timeout(_FRESH_SECONDS):
                await reached
        except TimeoutError:
            raise StoreUnavailable("this replica is behind its store; repeat the call in a moment") from None

    def _release(self, through: int) -> None:
        while self._behind and self._behind[0][0] <= through:
            _finish(heapq.heappop(self._behind)[2])

    async def _news(self, cluster: ClusterId) -> None:
        """Waits for the next change of a cluster."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._awaited.setdefault(cluster, set())
        waiting.add(news)
        try:
            await news
        finally:
            waiting.discard(news)
            if not waiting and self._awaited.get(cluster) is waiting:
                del self._awaited[cluster]

    def _announce(self, cluster: ClusterId) -> None:
        for waiting in self._awaited.pop(cluster, ()):
            _finish(waiting)


@contextmanager
def _logged(cluster: ClusterId) -> Generator[None]:
    """One handler's fault must not keep others from hearing of a change."""
    try:
        yield
    except Exception:  # logged in full
        log.exception("a handler of records failed", cluster=cluster)


def _differ_visibly(old: Cluster, new: Cluster) -> bool:
    """Whether people see a difference; most reports of agents make none."""
    return (
        old.spec != new.spec
        or old.targets != new.targets
        or old.status != new.status
        or old.workers != new.workers
        or old.generation != new.generation
        or old.meter != new.meter
        or shown(old.report) != shown(new.report)
    )


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _topics(change: Change) -> tuple[Topic, ...]:
    return change.topics
