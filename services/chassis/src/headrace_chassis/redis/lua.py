"""Lua scripts: loaded from a package's ``scripts/*.lua``, called by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, cast

import redis.asyncio
from redis.exceptions import NoScriptError

from headrace_chassis import metrics
from headrace_chassis.redis.connection import store_errors

Argument = str | bytes | int | float


@dataclass(frozen=True)
class Script:
    """A script. Calling it runs it in Redis, atomically."""

    name: str
    text: str = field(repr=False)
    digest: str

    async def __call__(
        self, redis: redis.asyncio.Redis, keys: Sequence[str] = (), args: Sequence[Argument] = ()
    ) -> Any:  # only the one typed caller of a script knows its answer
        with (
            metrics.REDIS_FAILURES.labels(self.name).count_exceptions(),
            metrics.REDIS_SECONDS.labels(self.name).time(),
            store_errors(),
        ):
            try:
                return await cast("Any", redis.evalsha(self.digest, len(keys), *keys, *args))
            except NoScriptError:
                return await cast("Any", redis.eval(self.text, len(keys), *keys, *args))


@cache
def load(package: str, name: str) -> Script:
    """Read ``scripts/<name>.lua`` of a package."""
    text = (files(package) / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
