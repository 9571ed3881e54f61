"""A deployment of controllers with a fake machine, fake agents and a fake proxy; everything between is real."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.controller.services.running import Replica, Site, User
from tests.controller.services.running import site as running_site


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="hrc-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def site(directory: Path, redis_url: str, redis: Redis) -> AsyncIterator[Site]:
    _ = redis  # flushed
    async with running_site(directory, redis_url) as made:
        yield made


@pytest.fixture
async def controller(site: Site) -> Replica:
    return await site.replica()


@pytest.fixture
async def ann(controller: Replica) -> User:
    return await controller.user("ann")


@pytest.fixture
async def bob(controller: Replica) -> User:
    return await controller.user("bob")


@pytest.fixture
async def admin(controller: Replica) -> User:
    return await controller.user("root", "owner", "admin")
