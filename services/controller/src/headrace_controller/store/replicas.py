"""Which replicas are alive, according to the leases of the shards."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_controller.store.connection import Connection


class Replicas:
    """The replicas of this deployment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def live_for(self, replicas: Sequence[str]) -> list[float]:
        """Returns for how many seconds more each replica counts as living without another sign; 0: it does not."""
        key = self._connection.keys.replicas()
        scores, (seconds, microseconds) = await self._connection.commands(("ZMSCORE", key, *replicas), ("TIME",))
        now = int(seconds) + int(microseconds) / 1e6
        return [0.0 if score is None else max(0.0, float(score) / 1e3 - now) for score in scores]
