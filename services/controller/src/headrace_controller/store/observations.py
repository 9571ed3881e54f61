"""What the replica that has a shard observes of its clusters, kept for the one that has it next."""

from __future__ import annotations

from headrace_controller.store.connection import Connection

KEPT_SECONDS = 86400.0


class KeptObservations:
    """Opaque here, by shard."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def save(self, shard: int, kept: bytes) -> None:
        """Keep this instead of what was kept before."""
        await self._connection.command("SET", self._connection.keys.observed(shard), kept, "EX", int(KEPT_SECONDS))

    async def load(self, shard: int) -> bytes | None:
        """Return what was kept last."""
        return await self._connection.command("GET", self._connection.keys.observed(shard))
