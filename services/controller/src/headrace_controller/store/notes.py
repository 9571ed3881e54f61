"""Notes that clusters were warned of something: a warning is given once, over all replicas and their restarts."""

from __future__ import annotations

from headrace_controller.model import ClusterId, Event, UserId
from headrace_controller.store.connection import Connection, not_found, record_script

_add_event = record_script("add_event")


class Notes:
    """Each expires by itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_event(self, cluster: ClusterId, owner: UserId, event: Event, *, note: str, seconds: int) -> None:
        """Add an event unless its note is there, and keep the note for some seconds, in one write.

        Raises `ClusterNotFound`.
        """
        keys, ask = {"noted": self._connection.keys.noted(cluster, note)}, {"seconds": max(1, seconds)}
        if await self._connection.run_on(_add_event, cluster, owner, ask, keys=keys, events=[event]) is None:
            raise not_found(cluster)

    async def discard(self, cluster: ClusterId, note: str) -> None:
        """Remove a note."""
        await self._connection.command("DEL", self._connection.keys.noted(cluster, note))
