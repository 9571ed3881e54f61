"""Writes the audit log: to a file or to stdout, and to Redis, where administrators read it.

No call waits for it. What cannot be written is kept for a while and tried again; each failure is logged and counted.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis

from headrace.backoff import delays
from headrace_chassis import metrics
from headrace_chassis.audit.record import Record
from headrace_chassis.logs import get_logger
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.keys import Prefix, audit_log

log = get_logger()

_WAITING = 20_000
_BATCH = 500
_END_SECONDS = 2.0
_PERIOD_SECONDS = 60.0
_REFUSED = 20
"""Refused calls of one caller in a period that are recorded; the others are counted."""
_REFUSED_STRANGERS = 200
"""Refused calls of all who had not signed in, in a period: their addresses may be many."""
_IN_REDIS = 100
"""Records of one caller in a period that are kept in Redis: nobody can push out those of others."""
STDOUT = "stdout"


class AuditSettings(BaseModel):
    """Where the audit log goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(
        default="",
        description="File of the audit log, one JSON object a line, or `stdout`. Empty: none. It may be moved away at "
        "any time; services of one machine may share it.",
    )
    kept: int = Field(
        default=100_000,
        ge=0,
        le=10_000_000,
        description="Records of the whole deployment that `headrace admin audit` finds, about; 0: none are kept in "
        "Redis. All services need the same value.",
    )


class AuditLog:
    """The audit log of one service.

    Parameters
    ----------
    service
        Its name in each record.
    """

    def __init__(self, settings: AuditSettings, service: str, redis: Redis, prefix: Prefix) -> None:
        self.service = service
        self._file = _Sink("file", lambda lines: asyncio.to_thread(_append, settings.file, lines))
        self._store = _Sink("store", _Store(redis, audit_log(prefix), settings.kept).append)
        self._has_file, self._has_store = bool(settings.file), settings.kept > 0
        self._refused = _Counts(_REFUSED, self._summarise)
        self._strangers = _Counts(_REFUSED_STRANGERS, self._summarise)
        self._kept = _Counts(_IN_REDIS, self._summarise_kept)

    def add(self, record: Record, *, by: str, trusted: bool = False, stranger: bool = False) -> None:
        """Write a record soon.

        Parameters
        ----------
        by
            Whom it counts for.
        trusted
            Whether they are not bounded.
        stranger
            Whether they had not signed in.
        """
        if record.failed and not trusted and not self._refused.take(by, record):
            return
        if record.failed and stranger and not self._strangers.take("", record):
            return
        line = record.line()
        if self._has_file:
            self._file.add(line)
        if self._has_store and (trusted or self._kept.take(by, record)):
            self._store.add(line)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for sink in (self._file, self._store):
                group.create_task(sink.run())

    def _summarise(self, last: Record, count: int) -> None:
        line = _summary(last, f"{count} more calls were refused within a minute").line()
        if self._has_file:
            self._file.add(line)
        if self._has_store:
            self._store.add(line)

    def _summarise_kept(self, last: Record, count: int) -> None:
        self._store.add(_summary(last, f"{count} more calls within a minute are in the file of the audit log").line())


class _Counts:
    """Counts records by caller in periods of a minute; says at the end of each how many were too many."""

    def __init__(self, most: int, summarise: Callable[[Record, int], None]) -> None:
        self._most = most
        self._summarise = summarise
        self._taken = Counter[str]()
        self._last: dict[str, Record] = {}

    def take(self, by: str, record: Record) -> bool:
        """Return whether the caller may have one more."""
        if not self._taken[by]:
            asyncio.get_running_loop().call_later(_PERIOD_SECONDS, self._end, by)
        self._taken[by] += 1
        if self._taken[by] > self._most:
            self._last[by] = record
        return self._taken[by] <= self._most

    def _end(self, by: str) -> None:
        count = self._taken.pop(by) - self._most
        if (last := self._last.pop(by, None)) is not None:
            self._summarise(last, count)


class _Sink:
    """Lines that wait to be written to one place."""

    def __init__(self, name: str, write: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
        self._name = name
        self._write = write
        self._waiting = deque[bytes]()
        self._news = asyncio.Event()
        self._writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writing.set_result(None)

    def add(self, line: bytes) -> None:
        if len(self._waiting) >= _WAITING:
            metrics.AUDIT_LOST.labels(self._name).inc()
            return
        self._waiting.append(line)
        self._news.set()

    async def run(self) -> None:
        try:
            while True:
                await self._news.wait()
                await self._flush()
        finally:
            with suppress(Exception):
                async with asyncio.timeout(_END_SECONDS):
                    await self._writing
                    while self._waiting:
                        await self._step()

    async def _flush(self) -> None:
        """Write all that waits; try for as long as that takes."""
        for pause in delays(0.1, 5.0):
            try:
                while self._waiting:
                    await self._step()
            except Exception as error:  # noqa: BLE001 whatever failed, it is said and tried again
                metrics.AUDIT_FAILURES.labels(self._name).inc()
                log.error(  # noqa: TRY400 said again every few seconds
                    "the audit log cannot be written", to=self._name, waiting=len(self._waiting), error=str(error)
                )
            else:
                self._news.clear()
                return
            await asyncio.sleep(pause)

    async def _step(self) -> None:
        """Write some lines. They are written to the end when this is cancelled: they must not be written twice."""
        self._writing = asyncio.ensure_future(self._write_some())
        await asyncio.shield(self._writing)

    async def _write_some(self) -> None:
        lines = list(islice(self._waiting, _BATCH))
        await self._write(lines)
        for _ in lines:
            self._waiting.popleft()


class _Store:
    def __init__(self, redis: Redis, key: str, kept: int) -> None:
        self._redis, self._key, self._kept = redis, key, kept

    async def append(self, lines: Sequence[bytes]) -> None:
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for line in lines:
                    pipeline.xadd(self._key, {"record": line}, maxlen=self._kept, approximate=True)
                await pipeline.execute()


def _append(file: str, lines: Sequence[bytes]) -> None:
    content = b"".join(line + b"\n" for line in lines)
    if file == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    descriptor = os.open(Path(file), os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if (size := os.fstat(descriptor).st_size) and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content  # a full disk has cut the last line off
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def _summary(last: Record, text: str) -> Record:
    return Record(
        time=time.time(),
        service=last.service,
        method=last.method,
        caller=last.caller,
        source=last.source,
        code=last.code,
        detail=text,
    )
