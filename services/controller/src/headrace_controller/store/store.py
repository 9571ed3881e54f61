"""The store as the controller uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from headrace_controller.keys import Keys
from headrace_controller.model import Demand
from headrace_controller.store.accounts import Accounts
from headrace_controller.store.codec import unpack_change, unpack_demand, unpack_route_log_entry
from headrace_controller.store.connection import Connection
from headrace_controller.store.enrolments import Enrolments
from headrace_controller.store.events import Events
from headrace_controller.store.limit_exceptions import KeptLimitExceptions
from headrace_controller.store.notes import Notes
from headrace_controller.store.observations import KeptObservations
from headrace_controller.store.queue import Queue
from headrace_controller.store.reads import Reads
from headrace_controller.store.records import Records
from headrace_controller.store.replicas import Replicas
from headrace_controller.store.routes import Routes
from headrace_controller.store.streams import Stream
from headrace_controller.store.usage import Usage


class Store:
    """Holds no state. Every method raises `StoreUnavailable` while Redis is away; what was acknowledged, Redis has.

    Parameters
    ----------
    waiting
        Connection for reads that block. Default: `redis`.
    accounts
        Where usage is added up. Default: nothing has a price.
    """

    def __init__(
        self, redis: Redis, keys: Keys, waiting: Redis | None = None, accounts: Accounts | None = None
    ) -> None:
        connection = Connection(redis, keys)
        waiting = waiting or redis
        accounts = accounts or Accounts()
        self._connection = connection
        self.reads = Reads(connection)
        self.records = Records(connection, self.reads, accounts)
        self.events = Events(connection)
        self.enrolments = Enrolments(connection)
        self.changes = Stream(redis, waiting, keys.changes(), unpack_change)
        self.routes = Routes(connection, Stream(redis, waiting, keys.route_log(), unpack_route_log_entry))
        self.replicas = Replicas(connection)
        self.queue = Queue(connection)
        self.observations = KeptObservations(connection)
        self.notes = Notes(connection)
        self.limit_exceptions = KeptLimitExceptions(connection)
        self.used = Usage(connection, accounts)

    async def usages(self, subjects: Sequence[str]) -> dict[str, Demand]:
        """Returns what the clusters of each subject are promised together."""
        commands = [("HGETALL", self._connection.keys.usage(subject)) for subject in subjects]
        found = await self._connection.commands(*commands)
        return {subject: unpack_demand(amounts) for subject, amounts in zip(subjects, found, strict=True)}

    async def usage(self, subject: str) -> Demand:
        """Returns what the clusters of a subject are promised together."""
        amounts = await self._connection.command("HGETALL", self._connection.keys.usage(subject))
        return unpack_demand(cast("dict[bytes, bytes]", amounts))
