"""Connections that the Gateway objects of an event loop share."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass

from headrace._target.target import Target
from headrace._wire.connection import Connection


@dataclass(slots=True)
class _Shared:
    connection: Connection
    users: int = 0


_connections: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, _Shared]] = weakref.WeakKeyDictionary()


def acquire(target: Target) -> Connection:
    """Return the running loop's connection to `target`; `release` it when done."""
    on_loop = _connections.setdefault(asyncio.get_running_loop(), {})
    places = (target.address, target.proxy_address, target.has_proxy, target.public_address)
    key = (*places, target.ca_pem, target.http_proxy, type(target.auth), target.auth.cache_key())
    shared = on_loop.get(key)
    if shared is None:
        shared = on_loop[key] = _Shared(Connection(target))
    shared.users += 1
    return shared.connection


async def release(connection: Connection) -> None:
    """Return a connection; the last user closes it."""
    on_loop = _connections.get(asyncio.get_running_loop(), {})
    for key, shared in list(on_loop.items()):
        if shared.connection is connection:
            shared.users -= 1
            if shared.users <= 0:
                del on_loop[key]
                await connection.close()
