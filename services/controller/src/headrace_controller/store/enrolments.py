"""Which process has enrolled with the token of a launch, and how many schedulers of a cluster have enrolled."""

from __future__ import annotations

from headrace_controller.model import ClusterId
from headrace_controller.store.connection import Connection


class Enrolments:
    """Kept as long as the tokens of launches are good, and no longer: an expired one enrols nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(self, launch: str, nonce: str, *, seconds: float) -> bool:
        """Whether the process that drew this nonce is the first to enrol with a launch; it may claim it again."""
        key = self._connection.keys.enrolled(launch)
        _, first = await self._connection.commands(
            ("SET", key, nonce, "NX", "EX", round(seconds)), ("GET", key), atomically=True
        )
        return first == nonce.encode()

    async def count_scheduler(self, cluster: ClusterId, *, seconds: float) -> int:
        """Counts one more enrolment of a scheduler; returns how many there were in the last time, with this one."""
        key = self._connection.keys.schedulers(cluster)
        count, _ = await self._connection.commands(("INCR", key), ("EXPIRE", key, round(seconds)), atomically=True)
        return int(count)
