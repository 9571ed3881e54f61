"""Reading records and their indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from headrace_controller.model import Cluster, ClusterId, Demand, UserId
from headrace_controller.store.codec import CLUSTER_FIELDS, unpack_cluster
from headrace_controller.store.connected import Connected, not_found
from headrace_controller.store.values import Page

# So many are read and decoded before others get the event loop.
_BATCH = 50
_ALL = 1000


class Records(Connected):
    """The part of the store that reads records."""

    async def get(self, cluster: ClusterId) -> Cluster:
        """Returns a cluster. Raises `ClusterNotFound`."""
        fields = await self._ask("HMGET", self._keys.record(cluster), *CLUSTER_FIELDS)
        if (found := unpack_cluster(cluster, fields)) is None:
            raise not_found(cluster)
        self._know_owner(cluster, found.owner)
        return self._see(found)

    async def get_many(self, clusters: Sequence[ClusterId]) -> list[Cluster]:
        """Returns those of the clusters that there are, in the order asked."""
        found: list[Cluster] = []
        for start in range(0, len(clusters), _BATCH):
            batch = clusters[start : start + _BATCH]
            answers = await self._ask_all(*(("HMGET", self._keys.record(c), *CLUSTER_FIELDS) for c in batch))
            read = (unpack_cluster(c, fields) for c, fields in zip(batch, answers, strict=True))
            found.extend(self._see(cluster) for cluster in read if cluster is not None)
            await asyncio.sleep(0)
        return found

    async def revision(self, cluster: ClusterId) -> tuple[int, UserId]:
        """Returns revision and owner. Raises `ClusterNotFound`."""
        revision, owner = cast(
            "list[bytes | None]", await self._look_up("HMGET", self._keys.record(cluster), "revision", "owner")
        )
        if revision is None or owner is None:
            raise not_found(cluster)
        return int(revision), UserId(owner.decode())

    async def by_alias(self, owner: UserId, alias: str) -> ClusterId | None:
        """Returns the owner's cluster of that alias, unless it is ending."""
        cluster = cast("bytes | None", await self._look_up("HGET", self._keys.aliases(owner), alias))
        return None if cluster is None else ClusterId(cluster.decode())

    async def secrets(self, cluster: ClusterId) -> bytes:
        """Returns what was given at the creation. Raises `ClusterNotFound`."""
        secrets = cast("bytes | None", await self._ask("HGET", self._keys.record(cluster), "secrets"))
        if secrets is None:
            raise not_found(cluster)
        return secrets

    async def ids(self, owner: UserId | None = None, *, living: bool | None = None) -> list[ClusterId]:
        """Returns the ids of an owner's or all clusters, newest first; living or ended ones only, if said."""
        page = await self.page(owner, living=living, count=_ALL)
        ids = page.ids
        while page.next is not None:
            page = await self.page(owner, living=living, before=page.next, count=_ALL)
            ids += page.ids
        return ids

    async def page(
        self, owner: UserId | None = None, *, living: bool | None = None, before: int | None = None, count: int = 100
    ) -> Page:
        """As `ids`, a page at a time."""
        indexes = [self._keys.living(owner)] if living is not False else []
        indexes += [self._keys.ended(owner)] if living is not True else []
        newest = "+inf" if before is None else f"({before}"
        limit = ("LIMIT", 0, count + 1, "WITHSCORES")
        answers = await self._ask_all(
            *(("ZRANGE", index, newest, "-inf", "BYSCORE", "REV", *limit) for index in indexes), atomically=True
        )
        places = {
            cluster: int(place) for answer in answers for cluster, place in cast("list[tuple[bytes, float]]", answer)
        }
        newest_first = sorted(places, key=places.__getitem__, reverse=True)
        ids = [ClusterId(cluster.decode()) for cluster in newest_first[:count]]
        return Page(ids, places[newest_first[count - 1]] if len(newest_first) > count else None)

    async def ended_before(self, time: float, count: int = 100) -> list[ClusterId]:
        """Returns clusters that had ended by then, the longest ended first."""
        ids = await self._ask("ZRANGE", self._keys.retention(), "-inf", time, "BYSCORE", "LIMIT", 0, count)
        return [ClusterId(cluster.decode()) for cluster in cast("list[bytes]", ids)]

    async def version(self, owner: UserId | None = None) -> int:
        """Returns a number that grows with each write of an owner's (or any) record."""
        return int(cast("bytes | None", await self._look_up("GET", self._keys.version(owner))) or 0)

    async def usage(self, owner: UserId | None = None) -> Demand:
        """Returns what an owner (or everybody) is promised."""
        resources = ("clusters", "workers", "cores_milli", "memory_bytes")
        sums = cast("list[bytes | None]", await self._ask("HMGET", self._keys.usage(owner), *resources))
        return Demand(**{resource: int(n or 0) for resource, n in zip(resources, sums, strict=True)})
