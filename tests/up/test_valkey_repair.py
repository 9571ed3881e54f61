"""Damaged files of the store: what can be read is kept, what cannot is set aside."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from headrace_up.console import Console
from headrace_up.errors import GaveUp
from headrace_up.layout import Layout
from headrace_up.process_tags import tagged_environment
from headrace_up.supervisor import Supervisor
from headrace_up.valkey import valkey_part

KEYS = 20


class Store:
    """Valkey under a supervisor."""

    def __init__(self, layout: Layout) -> None:
        self.out = io.StringIO()
        self.files = layout.valkey / "appendonlydir"
        self._part = valkey_part(layout, tagged_environment(layout.data))
        self._socket = str(layout.socket("valkey"))
        self._supervisor = Supervisor(layout, Console(out=self.out))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Redis]:
        self._supervisor.start([self._part])
        try:
            await self._supervisor.ready()
            async with Redis(unix_socket_path=self._socket) as redis:
                yield redis
        finally:
            await self._supervisor.stop(["valkey"], within=60)

    def kept(self) -> list[Path]:
        return sorted(self.files.parent.glob("appendonlydir.*"))


@pytest.fixture
async def store(layout: Layout) -> Store:
    """A store that was stopped with some keys in its append-only file."""
    one = Store(layout)
    async with one.running() as redis:
        for number in range(KEYS):
            await redis.set(f"key-{number}", number)
    return one


def append(garbage: bytes) -> Callable[[Path], None]:
    def damage(files: Path) -> None:
        with next(files.glob("*.incr.aof")).open("ab") as file:
            file.write(garbage)

    return damage


@pytest.mark.parametrize("damage", [append(os.urandom(3000)), append(bytes(3000))], ids=["garbage", "zeros"])
async def test_a_damaged_end_is_cut_off_and_no_key_is_lost(store: Store, damage: Callable[[Path], None]):
    damage(store.files)
    damaged = next(store.files.glob("*.incr.aof")).read_bytes()
    async with store.running() as redis:
        assert await redis.dbsize() == KEYS
        await redis.set("another", 1)
    assert "the end of the store's file was damaged and has been cut off" in store.out.getvalue()
    (kept,) = store.kept()
    assert str(kept) in store.out.getvalue()
    assert next(kept.glob("*.incr.aof")).read_bytes() == damaged
    async with store.running() as redis:
        assert await redis.dbsize() == KEYS + 1


def replace_command(files: Path) -> None:
    path = next(files.glob("*.incr.aof"))
    path.write_bytes(path.read_bytes().replace(b"SET\r\n$5\r\nkey-7", b"SXT\r\n$5\r\nkey-7"))


def damage_base(files: Path) -> None:
    path = next(files.glob("*.base.rdb"))
    path.write_bytes(path.read_bytes()[:20] + b"damaged")


def damage_manifest(files: Path) -> None:
    next(files.glob("*.manifest")).write_text("damaged\n")


@pytest.mark.parametrize("damage", [replace_command, damage_base, damage_manifest])
async def test_files_that_cannot_be_repaired_are_set_aside(store: Store, damage: Callable[[Path], None]):
    damage(store.files)
    damaged = {path.name: path.read_bytes() for path in store.files.iterdir()}
    async with store.running() as redis:
        assert await redis.dbsize() == 0
    assert "The store begins empty: running clusters are adopted" in store.out.getvalue()
    (kept,) = store.kept()
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == damaged


async def test_files_that_are_not_damaged_are_left_alone_whatever_else_is_wrong(store: Store, layout: Layout):
    socket = layout.socket("valkey")
    socket.mkdir()  # Valkey cannot listen there
    with pytest.raises(GaveUp, match="valkey ended with exit code 1"):
        async with store.running():
            pass
    assert store.kept() == []
    socket.rmdir()
    async with store.running() as redis:
        assert await redis.dbsize() == KEYS
