"""What all parts of the store have: the connection, the keys, the scripts and who owns what."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis

from headrace.errors import ClusterNotFound
from headrace.resource_names import cluster_name
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.lua import Argument, Script, load
from headrace_chassis.redis.reads import Reads
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, UserId

_PACKAGE = "headrace_controller"
_OWNERS_KEPT = 50_000
_RECORDS_KEPT = 2048

Answer = list[Any]  # what a script answers, its head comment says


class Connected:
    """A connection to the store's Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._reads = Reads(redis)
        self._owners: dict[ClusterId, UserId] = {}
        self._seen: OrderedDict[ClusterId, Cluster] = OrderedDict()

    def known(self, cluster: ClusterId, revision: int) -> Cluster | None:
        """Returns the record at this revision or a later one if this replica has read or written it, else None."""
        seen = self._seen.get(cluster)
        return seen if seen is not None and seen.revision >= revision else None

    def doubt(self, cluster: ClusterId) -> None:
        """Forgets what was seen of a cluster that may be gone or made anew, with revisions from the start."""
        self._seen.pop(cluster, None)

    def doubt_all(self) -> None:
        """Forgets everything that was seen."""
        self._seen.clear()

    async def _ask(self, *command: Argument) -> Any:
        with store_errors():
            return await cast("Any", self._redis.execute_command(*command))

    async def _look_up(self, *command: Argument) -> Any:
        """As `_ask`, but cheaper: for commands that only read and whose answer is plain bytes."""
        with store_errors():
            return await self._reads.ask(*command)

    async def _ask_all(self, *commands: Sequence[Argument], atomically: bool = False) -> list[Any]:
        """Sends several commands at once; `atomically`, nothing else comes between them."""
        with store_errors():
            async with self._redis.pipeline(transaction=atomically) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return await cast("Any", pipeline.execute())

    async def _run_on(
        self,
        script: Script,
        cluster: ClusterId,
        owner: UserId,
        arguments: Sequence[Argument],
        *,
        key: str | None = None,
    ) -> Any:
        """Runs a script that stands on `record.lua`; `key` is its own one."""
        keys = self._keys.of_record(cluster, owner)
        return await script(self._redis, [*keys, key] if key else keys, [cluster, owner, *arguments])

    def _know_owner(self, cluster: ClusterId, owner: UserId) -> None:
        """Remembers the owner, who never changes."""
        if len(self._owners) >= _OWNERS_KEPT:
            self._owners.clear()
        self._owners[cluster] = owner

    def _see(self, cluster: Cluster) -> Cluster:
        """Notes and returns a record as it came from Redis."""
        if self.known(cluster.id, cluster.revision) is None:
            self._seen[cluster.id] = cluster
            self._seen.move_to_end(cluster.id)
            if len(self._seen) > _RECORDS_KEPT:
                self._seen.popitem(last=False)
        return cluster

    async def _owner(self, cluster: ClusterId) -> UserId:
        """Returns the owner, nearly always without asking. Raises `ClusterNotFound`."""
        if (owner := self._owners.get(cluster)) is None:
            answer = cast("bytes | None", await self._ask("HGET", self._keys.record(cluster), "owner"))
            if answer is None:
                raise not_found(cluster)
            owner = UserId(answer.decode())
            self._know_owner(cluster, owner)
        return owner


def record_script(name: str) -> Script:
    """Loads a script with `record.lua` before it."""
    text = load(_PACKAGE, "record").text + load(_PACKAGE, name).text
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def not_found(cluster: ClusterId) -> ClusterNotFound:
    """Makes the error that a cluster does not exist."""
    return ClusterNotFound(f"there is no cluster {cluster_name(cluster)}; it may have ended long ago and been removed")
