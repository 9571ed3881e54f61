"""Limits that admins have set for a while, by subject and resource."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from msgspec import DecodeError, msgpack

from headrace_chassis import logs
from headrace_controller.model import LimitException
from headrace_controller.store.codec import pack, text
from headrace_controller.store.connection import Connection, plain_script

log = logs.get_logger()

MOST_EXCEPTIONS = 1000

_exception = msgpack.Decoder(LimitException)
_set_limits = plain_script("set_limits")


class KeptLimitExceptions:
    """Those of the deployment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self) -> list[LimitException]:
        """Return all, also those that have ended of late."""
        found = await self._connection.command("HVALS", self._connection.keys.limit_exceptions())
        return [one for content in cast("list[bytes]", found) if (one := _read(content)) is not None]

    async def change(
        self, now: float, *, add: Iterable[LimitException] = (), remove: Sequence[LimitException] = ()
    ) -> int | None:
        """Add some instead of earlier ones for the same; remove others.

        Returns None, or how many there are if they would be more than `MOST_EXCEPTIONS`; then nothing has changed.
        """
        keys = self._connection.keys
        ask = {
            "now": now,
            "most": MOST_EXCEPTIONS,
            "set": {_field(one): text(pack(one)) for one in add},
            "remove": [_field(one) for one in remove],
        }
        answer = await self._connection.run(_set_limits, [keys.limit_exceptions(), keys.changes()], ask)
        return answer if isinstance(answer, int) else None


def _field(one: LimitException) -> str:
    return f"{one.resource} {one.subject}"


def _read(content: bytes) -> LimitException | None:
    try:
        return _exception.decode(content)
    except DecodeError as error:  # one that cannot be read must not keep the replica from all others
        log.warning("an exception of a limit cannot be read; the policy's limit binds", error=str(error))
        return None
