"""What this replica observes of its clusters, going on from what was observed of them before."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from math import inf

from msgspec import DecodeError, msgpack

from headrace_chassis import logs
from headrace_controller.culling.observed import Marks, Observed, first, of_another
from headrace_controller.loops import faults_logged, in_turns, wait
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.signals.measured import Absence, NotMeasured, Signals
from headrace_controller.store import Store
from headrace_controller.store.observations import KEPT_SECONDS

log = logs.get_logger()
_BEAT_SECONDS = 5.0
# Time between two beats after which this process did not run, for example because its machine slept.
_PAUSE_SECONDS = 60.0
# Age from which what another replica keeps is not what it knows now; three intervals are added.
_OLD_SECONDS = 90.0

_NOT_READ: tuple[float, Mapping[ClusterId, Observed]] = -inf, {}

_marks = msgpack.Decoder(dict[ClusterId, Marks])


class Observations:
    """Knows since when each cluster has been observed; as a handler of the mirror it drops those that are gone.

    It is kept in the store from time to time, by shard, so that a replica that gets the shard goes on from there.

    Parameters
    ----------
    shard, shards
        Function that returns the shard of a cluster, and the number of shards.
    interval
        Seconds between two rounds of measuring.
    """

    def __init__(
        self,
        store: Store,
        signals: Signals,
        *,
        shard: Callable[[ClusterId], int],
        shards: int,
        interval: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._signals = signals
        self._shard = shard
        self._shards = shards
        self._interval = interval
        self._clock = clock
        self._observed: dict[ClusterId, Observed] = {}
        self._held: set[int] = set()
        self._to_load: set[int] = set()
        self._gained = asyncio.Event()
        self._callbacks: list[Callable[[ClusterId], None]] = []
        self._reading = asyncio.Lock()
        self._of_others: tuple[float, Mapping[ClusterId, Observed]] = _NOT_READ
        self._beat = self._saved = clock()

    def of(self, cluster: ClusterId) -> Observed:
        """Return what is observed of a cluster now: nothing until what was observed before is loaded."""
        self._check_beat()
        sample, before = self._signals.of(cluster), self._observed.get(cluster)
        self._observed[cluster] = observed = first(sample) if before is None else before.next(sample)
        if self._shard(cluster) in self._to_load:
            return Observed(sample=NotMeasured(absence=Absence.MISSING))
        return observed

    def on_load(self, callback: Callable[[ClusterId], None]) -> None:
        """Call this with each cluster of which something is known only now that its shard is loaded."""
        self._callbacks.append(callback)

    async def of_others(self) -> Mapping[ClusterId, Observed]:
        """Return what the other replicas have kept of their clusters, with samples that are somewhat older.

        It is read every few seconds at most: any user may ask, and again and again, and it is about everybody's.
        """
        async with self._reading:
            read, known = self._of_others
            if not 0 <= self._clock() - read < _BEAT_SECONDS:
                known = await self._read_others()
                self._of_others = self._clock(), known
            return known

    async def run(self) -> None:
        """Load what others observed, save what this replica does, and notice when it stands still; until cancelled."""
        while True:
            with faults_logged("what is observed of clusters is not kept; will try again"):
                await self.step()
            await wait(self._gained, min(_BEAT_SECONDS, self._interval))
            self._gained.clear()

    async def step(self) -> None:
        """Do what is due."""
        self._check_beat()
        for shard in list(self._to_load):
            await self._load(shard)
        if not 0 <= self._clock() - self._saved < 2 * self._interval:
            self._saved = self._clock()
            await self._save()

    def gained(self, shard: int) -> None:
        """This replica has got the lease of a shard."""
        self._held.add(shard)
        self._to_load.add(shard)
        self._of_others = _NOT_READ
        self._gained.set()

    def lost(self, shard: int) -> None:
        """This replica holds the lease of a shard no more."""
        self._held.discard(shard)
        self._to_load.discard(shard)
        for cluster in [cluster for cluster in self._observed if self._shard(cluster) == shard]:
            del self._observed[cluster]

    def added(self, cluster: Cluster) -> None: ...

    def updated(self, old: Cluster, new: Cluster) -> None:
        del old
        if new.status.phase.ended:
            self._observed.pop(new.id, None)

    def removed(self, cluster: Cluster) -> None:
        self._observed.pop(cluster.id, None)

    async def _read_others(self) -> Mapping[ClusterId, Observed]:
        others = [shard for shard in range(self._shards) if shard not in self._held]
        found: dict[ClusterId, Observed] = {}
        for shard in others:
            for cluster, marks in (await self._read(shard)).items():
                late = self._clock() - marks[0] > _OLD_SECONDS + 3 * self._interval
                known = of_another(marks)
                found[cluster] = known.next(NotMeasured(absence=Absence.STALE)) if late else known
        return found

    async def _load(self, shard: int) -> None:
        kept = await self._read(shard)
        if shard not in self._to_load:
            return  # lost meanwhile
        self._to_load.discard(shard)
        # What this replica has seen since it got the shard is newer, but little.
        self._observed |= {cluster: of_another(marks).pause() for cluster, marks in kept.items()}
        async for cluster in in_turns([cluster for cluster in self._observed if self._shard(cluster) == shard]):
            for callback in self._callbacks:
                callback(cluster)

    async def _read(self, shard: int) -> Mapping[ClusterId, Marks]:
        kept = await self._store.observations.load(shard)
        try:
            found = {} if kept is None else _marks.decode(kept)
        except DecodeError:
            log.warning("what was observed of the clusters of a shard cannot be read; it begins again", shard=shard)
            return {}
        return {cluster: marks for cluster, marks in found.items() if self._shard(cluster) == shard}

    async def _save(self) -> None:
        shards: defaultdict[int, dict[ClusterId, Marks]] = defaultdict(dict)
        async for cluster in in_turns(list(self._observed)):
            if cluster not in self._observed:
                continue  # lost meanwhile
            observed = self.of(cluster)
            if observed.until is not None and self._clock() - observed.until > KEPT_SECONDS:
                del self._observed[cluster]
            elif (marks := observed.marks) is not None:
                shards[self._shard(cluster)][cluster] = marks
        for shard in shards.keys() & (self._held - self._to_load):
            await self._store.observations.save(shard, msgpack.encode(shards[shard]))

    def _check_beat(self) -> None:
        """Note a time in which this process did not run."""
        now = self._clock()
        if not 0 <= now - self._beat < _PAUSE_SECONDS:
            self._observed = {cluster: observed.pause() for cluster, observed in self._observed.items()}
        self._beat = now
