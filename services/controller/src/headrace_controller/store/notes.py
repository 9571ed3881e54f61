"""Notes that clusters were warned of something: a warning is given once, over all replicas and their restarts."""

from __future__ import annotations

from headrace_controller.model import ClusterId
from headrace_controller.store.connection import Connection


class Notes:
    """Each expires by itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, cluster: ClusterId, note: str, *, seconds: int) -> bool:
        """Keep a note for some seconds; return whether it was not there before."""
        key = self._connection.keys.noted(cluster, note)
        return await self._connection.command("SET", key, "1", "NX", "EX", max(1, seconds)) is not None

    async def discard(self, cluster: ClusterId, note: str) -> None:
        """Remove a note."""
        await self._connection.command("DEL", self._connection.keys.noted(cluster, note))
