"""Events of the clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from headrace_controller.model import ClusterId, Event, UserId
from headrace_controller.store.codec import unpack_event
from headrace_controller.store.connection import Connection, not_found, record_script
from headrace_controller.store.set_aside import readable

_add_event = record_script("add_event")
_Entries = list[tuple[bytes, Mapping[bytes, bytes]]]


class Events:
    """The last events of each cluster."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, cluster: ClusterId, owner: UserId, event: Event) -> Event:
        """Adds an event; returns it with its id. Raises `ClusterNotFound`."""
        answer = await self._connection.run_on(_add_event, cluster, owner, {}, events=[event])
        event_id = cast("bytes | None", answer)
        if event_id is None:
            raise not_found(cluster)
        return replace(event, id=event_id.decode())

    async def list(self, cluster: ClusterId, after: str = "", count: int = 100) -> Sequence[Event]:
        """Returns events after that id, oldest first."""
        start = f"({after}" if after else "-"
        key = self._connection.keys.events(cluster)
        return _unpacked(await self._connection.command("XRANGE", key, start, "+", "COUNT", count))

    async def list_many(self, clusters: Sequence[ClusterId], count: int = 100) -> Mapping[ClusterId, Sequence[Event]]:
        """Returns the first events of several clusters, in one round trip."""
        keys = self._connection.keys
        answers = await self._connection.commands(
            *(("XRANGE", keys.events(cluster), "-", "+", "COUNT", count) for cluster in clusters)
        )
        return {cluster: _unpacked(answer) for cluster, answer in zip(clusters, answers, strict=True)}


def _unpacked(entries: _Entries) -> Sequence[Event]:
    return [event for entry_id, fields in entries if (event := readable(_unpack, entry_id, fields))]


def _unpack(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    return unpack_event(fields[b"event"], entry_id)
