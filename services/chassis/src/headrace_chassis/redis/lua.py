"""Lua scripts: loaded from a package's ``scripts/*.lua``, called by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, cast

import redis.asyncio
from redis.exceptions import NoScriptError, OutOfMemoryError

from headrace_chassis import metrics
from headrace_chassis.redis.connection import store_errors

_WHEN_FULL = "#!lua flags=allow-oom\n"

Argument = str | bytes | int | float


@dataclass(frozen=True)
class Script:
    """A script. Calling it runs it in Redis, atomically.

    Attributes
    ----------
    when_full
        Whether it also runs in a Redis that has no memory left (7.0 or newer): it makes room, or what makes room needs
        it. Redis refuses a script before its first write, so it can be repeated.
    """

    name: str
    text: str = field(repr=False)
    digest: str
    when_full: bool = False

    async def __call__(
        self, redis: redis.asyncio.Redis, keys: Sequence[str] = (), args: Sequence[Argument] = ()
    ) -> Any:  # only the one typed caller of a script knows its answer
        with (
            metrics.REDIS_FAILURES.labels(self.name).count_exceptions(),
            metrics.REDIS_SECONDS.labels(self.name).time(),
            store_errors(),
        ):
            try:
                return await self._run(redis, keys, args)
            except OutOfMemoryError:
                if not self.when_full:
                    raise
                return await cast("Any", redis.eval(f"{_WHEN_FULL}{self.text}", len(keys), *keys, *args))

    async def _run(self, redis: redis.asyncio.Redis, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        try:
            return await cast("Any", redis.evalsha(self.digest, len(keys), *keys, *args))
        except NoScriptError:
            return await cast("Any", redis.eval(self.text, len(keys), *keys, *args))


@cache
def load(package: str, name: str, *, when_full: bool = False) -> Script:
    """Read ``scripts/<name>.lua`` of a package."""
    text = (files(package) / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), when_full)
