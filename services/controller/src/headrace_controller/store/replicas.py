"""Which replicas live, as the shards' leases have it."""

from __future__ import annotations

from headrace_controller.store.connected import Connected


class Replicas(Connected):
    """The part of the store that reads who lives."""

    async def lives_for(self, replica: str) -> float:
        """Returns for how many seconds more a replica counts as living if it says nothing; 0: it does not live."""
        score, (seconds, microseconds) = await self._ask_all(("ZSCORE", self._keys.replicas(), replica), ("TIME",))
        if score is None:
            return 0.0
        return max(0.0, float(score) / 1e3 - int(seconds) - int(microseconds) / 1e6)
