"""What all parts of the store share: the connection, the keys, and how scripts are run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import msgpack
from redis.asyncio import Redis

from headrace.errors import ClusterNotFound
from headrace.resource_names import cluster_name
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.lua import Argument, Script, load
from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId, Event, UserId
from headrace_controller.store.codec import pack, text
from headrace_controller.store.kept_connection import KeptConnection

_PACKAGE = "headrace_controller"

Answer = list[Any]  # of a script; its head comment describes it
Ask = Mapping[str, object]  # what a script is asked, by the names that its head comment lists


class Connection:
    """A connection to the store's Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._kept = KeptConnection(redis)
        self.keys = keys

    async def command(self, *command: Argument, **options: object) -> Any:
        """Runs a command; `options` tell redis-py what its answer looks like."""
        with store_errors():
            return await cast("Any", self._redis.execute_command(*command, **options))

    async def read_alone(self, *command: Argument) -> Any:
        """As `command` but cheaper: for one caller at a time, to read what is answered in plain bytes."""
        with store_errors():
            return await self._kept.ask(*command)

    async def commands(self, *commands: Sequence[Argument], atomically: bool = False) -> list[Any]:
        """Sends several commands at once; `atomically`, nothing else comes between them."""
        with store_errors():
            async with self._redis.pipeline(transaction=atomically) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return await cast("Any", pipeline.execute())

    async def run(self, script: Script, keys: Sequence[str], ask: Ask) -> Any:
        """Runs a script with its one argument."""
        return await script(self._redis, keys, [msgpack.encode(ask)])

    async def run_on(
        self,
        script: Script,
        cluster: ClusterId,
        owner: UserId,
        ask: Ask,
        *,
        keys: Mapping[str, str] | None = None,
        events: Sequence[Event] = (),
    ) -> Any:
        """Runs a script that has `record.lua` before it; `keys` are the script's own, by name."""
        named = {**self.keys.of_record(cluster, owner), **(keys or {})}
        common = {
            "keys": list(named),
            "cluster": cluster,
            "owner": owner,
            "usage": self.keys.usage(""),
            "queue_at": self.keys.queue_at(""),
            "held": self.keys.queue_held(""),
            "used": self.keys.used(""),
            "used_by": self.keys.used_by(""),
            "events": [text(pack(event)) for event in events],
        }
        return await self.run(script, list(named.values()), {**common, **ask})


def plain_script(name: str) -> Script:
    """Loads a script that stands by itself."""
    return load(_PACKAGE, name)


def usage_script(name: str) -> Script:
    """Loads a script with `usage.lua` before it."""
    return _joined(name, "usage", name)


def record_script(name: str, *, when_full: bool = False) -> Script:
    """Loads a script with `record.lua` before it."""
    return _joined(name, "record", name, when_full=when_full)


def ledger_script(name: str, *, when_full: bool = False) -> Script:
    """Loads a script that changes what a cluster is promised, with all before it that it needs."""
    return _joined(name, "usage", "record", "ledger", "queue", name, when_full=when_full)


def _joined(name: str, *parts: str, when_full: bool = False) -> Script:
    content = "".join(load(_PACKAGE, part).text for part in parts)
    return Script(name, content, hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest(), when_full)


def not_found(cluster: ClusterId) -> ClusterNotFound:
    """Makes the error that a cluster does not exist."""
    return ClusterNotFound(f"there is no cluster {cluster_name(cluster)}; it may have ended long ago and been removed")
