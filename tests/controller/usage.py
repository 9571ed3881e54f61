"""What subjects are promised, once as it is counted and once as the sum over the records."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from msgspec import msgpack
from redis import Redis

from headrace_controller.keys import Keys

Usage = dict[str, dict[str, int]]


def counted(redis: Redis, keys: Keys) -> Usage:
    """By subject and resource, what the counters say."""
    found: Usage = {}
    for key in _keys(redis, keys.usage("*")):
        amounts = cast("dict[Any, Any]", redis.hgetall(key))
        subject = key.removeprefix(keys.usage(""))
        found[subject] = {_text(resource): int(amount) for resource, amount in amounts.items() if int(amount)}
    return found


def summed(redis: Redis, keys: Keys) -> Usage:
    """By subject and resource, what the records promise together."""
    sums: dict[str, Counter[str]] = {}
    for key in _keys(redis, keys.prefix.key("cluster", "*")):
        charged_to, promised = cast("list[bytes | None]", redis.hmget(key, "charged_to", "promised"))
        if charged_to is None or promised is None:  # removed meanwhile
            continue
        for subject in msgpack.decode(charged_to):
            sums.setdefault(subject, Counter()).update(msgpack.decode(promised))
    return {subject: dict(+amounts) for subject, amounts in sums.items() if +amounts}


def _keys(redis: Redis, pattern: str) -> list[str]:
    return [_text(key) for key in redis.scan_iter(pattern.replace("{", "[{]").replace("}", "[}]"))]


def _text(content: str | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content
