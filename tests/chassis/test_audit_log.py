"""The audit log's writers: nothing is lost while a place is away, and nobody can push out what others did."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from tests.conftest import Eventually

from headrace_chassis.audit.log import AuditLog, AuditSettings
from headrace_chassis.audit.record import Record, bounded
from headrace_chassis.redis.keys import Prefix, audit_log

PREFIX = Prefix("test")


@pytest.fixture(autouse=True)
def _all_is_written_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes on a busy machine."""
    monkeypatch.setattr("headrace_chassis.audit.log._END_SECONDS", 60.0)


def lost() -> float:
    return REGISTRY.get_sample_value("headrace_audit_lost_total", {"to": "file"}) or 0


def record(caller: str, code: str = "OK") -> Record:
    return Record(time=1.0, service="x", method="A.B", caller=caller, code=code)


@asynccontextmanager
async def running(log: AuditLog) -> AsyncGenerator[None]:
    task = asyncio.create_task(log.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def callers(file: Path) -> list[str]:
    return [json.loads(line)["caller"] for line in file.read_text().splitlines()] if file.exists() else []


async def test_what_waits_is_written_at_the_end_in_order(redis: Redis, tmp_path: Path) -> None:
    file = tmp_path / "audit"
    log = AuditLog(AuditSettings(file=str(file)), "x", redis, PREFIX)
    async with running(log):
        await asyncio.sleep(0)
        for n in range(1000):
            log.add(record(str(n)), by=str(n))
    assert callers(file) == [str(n) for n in range(1000)]
    assert await redis.xlen(audit_log(PREFIX)) == 1000
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_place_that_is_away_gets_it_later_and_holds_up_nothing(
    redis: Redis, tmp_path: Path, eventually: Eventually
) -> None:
    directory = tmp_path / "later"
    log = AuditLog(AuditSettings(file=str(directory / "audit")), "x", redis, PREFIX)
    async with running(log):
        log.add(record("ann"), by="ann")
        while not await redis.xlen(audit_log(PREFIX)):
            pass
        directory.mkdir()
        await eventually(lambda: callers(directory / "audit") == ["ann"])


async def test_the_file_may_be_moved_away(redis: Redis, tmp_path: Path, eventually: Eventually) -> None:
    file = tmp_path / "audit"
    log = AuditLog(AuditSettings(file=str(file), kept=0), "x", redis, PREFIX)
    async with running(log):
        log.add(record("ann"), by="ann")
        await eventually(lambda: callers(file) == ["ann"])
        file.rename(tmp_path / "audit.1")
        log.add(record("bob"), by="bob")
        await eventually(lambda: callers(file) == ["bob"])
    assert not await redis.exists(audit_log(PREFIX))


async def test_one_caller_does_not_push_out_others(redis: Redis, tmp_path: Path) -> None:
    file = tmp_path / "audit"
    log = AuditLog(AuditSettings(file=str(file)), "x", redis, PREFIX)
    async with running(log):
        await asyncio.sleep(0)
        for _ in range(500):
            log.add(record("eve", "PERMISSION_DENIED"), by="eve")
            log.add(record("mallory"), by="mallory")
        log.add(record("ann", "PERMISSION_DENIED"), by="ann")
        for _ in range(200):
            log.add(record("root", "NOT_FOUND"), by="root", trusted=True)
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await redis.xrange(audit_log(PREFIX)))
    kept = [json.loads(fields[b"record"])["caller"] for _, fields in entries]
    assert {name: kept.count(name) for name in set(kept)} == {"eve": 20, "mallory": 100, "ann": 1, "root": 200}
    assert callers(file).count("mallory") == 500
    assert callers(file).count("eve") == 20


async def test_strangers_of_many_addresses_do_not_push_out_others(redis: Redis, tmp_path: Path) -> None:
    file = tmp_path / "audit"
    log = AuditLog(AuditSettings(file=str(file)), "x", redis, PREFIX)
    async with running(log):
        await asyncio.sleep(0)
        for n in range(1000):
            log.add(record(f"guess-{n}", "UNAUTHENTICATED"), by=f"192.0.2.{n}", stranger=True)
        log.add(record("ann", "PERMISSION_DENIED"), by="ann")
        log.add(record("bob"), by="192.0.2.1", stranger=True)  # who logs in
    assert await redis.xlen(audit_log(PREFIX)) == 202
    assert callers(file)[-2:] == ["ann", "bob"]


async def test_a_line_that_was_cut_off_spoils_no_other(redis: Redis, tmp_path: Path) -> None:
    file = tmp_path / "audit"
    file.write_bytes(b'{"time":1.0,"caller":"ey')
    log = AuditLog(AuditSettings(file=str(file), kept=0), "x", redis, PREFIX)
    async with running(log):
        await asyncio.sleep(0)
        log.add(record("ann"), by="ann")
    assert json.loads(file.read_bytes().splitlines()[1])["caller"] == "ann"


async def test_more_than_can_wait_is_counted(redis: Redis, tmp_path: Path) -> None:
    log = AuditLog(AuditSettings(file=str(tmp_path / "no" / "file"), kept=0), "x", redis, PREFIX)
    before = lost()
    for n in range(20_100):
        log.add(record("root"), by=str(n), trusted=True)
    assert lost() - before == 100


def test_texts_are_bounded() -> None:
    assert bounded("x" * 512) == "x" * 512
    assert len(bounded("x" * 513)) == 512
    assert bounded("a\x1b[2J\nb é") == "a?[2J?b é"
