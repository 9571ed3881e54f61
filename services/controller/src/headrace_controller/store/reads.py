"""Reads of records, for the mirror: many at once, and only the changes of known ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store.codec import CLUSTER_FIELDS, unpack_head
from headrace_controller.store.connection import Connection, not_found, plain_script
from headrace_controller.store.pieces import with_pieces
from headrace_controller.store.values import RecordUnreadable, StoredCluster, Unreadable

Found = StoredCluster | Unreadable | None
"""A record as it was read; None where there is none."""

_MANY_FIELDS = 500
_read = plain_script("read")
_Answer = tuple[list[bytes], int, list[bytes | None]]  # values, whether the workers are complete, their fields


class Reads:
    """Reads whole records."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys = connection.keys

    async def get(self, cluster: ClusterId) -> Cluster:
        """Returns a cluster. Raises `ClusterNotFound`, `RecordUnreadable`."""
        return _readable(cluster, (await self.differing({cluster: None})).get(cluster))

    async def newest(self, seen: Cluster) -> Cluster:
        """Returns a cluster, reading only what has changed since it was seen; raises as `get`."""
        found = await self.differing({seen.id: seen})
        return _readable(seen.id, found[seen.id]) if seen.id in found else seen

    async def differing(
        self, seen: Mapping[ClusterId, Cluster | None], *, whole: bool = False
    ) -> Mapping[ClusterId, Found]:
        """Returns the clusters that have changed since they were seen; None for a cluster without a record.

        With `whole`, a record that differs is read completely: the writes that were seen may be lost.
        """
        if not seen:
            return {}
        keys = [key(cluster) for cluster in seen for key in (self._keys.record, self._keys.workers, self._keys.touched)]
        since = ["" if cluster is None else str(cluster.revision) for cluster in seen.values()]
        ask = {"fields": CLUSTER_FIELDS, "since": since, "whole": whole}
        answers = cast("list[_Answer | int | None]", await self._connection.run(_read, keys, ask))
        differing: dict[ClusterId, Found] = {}
        for (cluster, base), answer in zip(seen.items(), answers, strict=True):
            if answer is None:
                differing[cluster] = None
            elif not isinstance(answer, int):
                differing[cluster] = _unpacked(cluster, base, answer)
                if len(answer[2]) > _MANY_FIELDS:
                    await asyncio.sleep(0)  # others must get their turn
        return differing

    async def ids(self) -> list[ClusterId]:
        """Returns the ids of all clusters."""
        keys = self._keys.living(), self._keys.ended()
        answers = await self._connection.commands(*(("ZRANGE", key, 0, -1) for key in keys), atomically=True)
        return [ClusterId(cluster.decode()) for answer in answers for cluster in answer]

    async def version(self) -> int:
        """Returns the revision of the latest write; 0 means that Redis is empty. For one caller at a time."""
        return int(cast("bytes | None", await self._connection.read_alone("GET", self._keys.version())) or 0)

    async def exists(self, cluster: ClusterId) -> bool:
        """Whether there is a record, readable or not."""
        return bool(await self._connection.command("EXISTS", self._keys.record(cluster)))

    async def ended_before(self, time: float, count: int, skip: int = 0) -> list[ClusterId]:
        """Returns clusters that had ended by then, the longest ended first, without the first `skip`."""
        key = self._keys.ended()
        ids = await self._connection.command("ZRANGE", key, "-inf", time, "BYSCORE", "LIMIT", skip, count)
        return [ClusterId(cluster.decode()) for cluster in cast("list[bytes]", ids)]


def _readable(cluster: ClusterId, found: Found) -> Cluster:
    if found is None:
        raise not_found(cluster)
    if isinstance(found, Unreadable):
        raise RecordUnreadable.of(cluster)
    return found.cluster


def _unpacked(cluster: ClusterId, base: Cluster | None, answer: _Answer) -> StoredCluster | Unreadable:
    values, complete, fields = answer
    try:
        head, place = unpack_head(cluster, values)
        return StoredCluster(with_pieces(head, None if complete else base, fields), place)
    except Exception as error:  # noqa: BLE001 whatever is wrong with one record, others must be read
        return Unreadable(_owner(values), f"{type(error).__name__}: {error}")


def _owner(values: list[bytes]) -> UserId:
    owner = cast("bytes | None", values[CLUSTER_FIELDS.index("owner")])
    return UserId((owner or b"").decode(errors="replace"))
