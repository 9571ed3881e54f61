"""What all parts of the store have: the connection, the keys, the scripts and who owns what."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

from headrace.errors import ClusterNotFound
from headrace.resource_names import cluster_name
from headrace_chassis.redis_connection import store_errors
from headrace_chassis.scripts import Argument, Script, load
from redis.asyncio import Redis

from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId, UserId

_PACKAGE = "headrace_controller"
_OWNERS_KEPT = 50_000

Answer = list[Any]  # what a script answers, its head comment says


class Connected:
    """A connection to the store's Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._owners: dict[ClusterId, UserId] = {}

    async def _ask(self, *command: Argument) -> Any:
        with store_errors():
            return await cast("Any", self._redis.execute_command(*command))

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
