"""The controller's connection to the nursery: kept up, whatever becomes of the nursery."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace_backend_local import places, protocol
from headrace_backend_local.board import Board
from headrace_backend_local.launch import launch
from headrace_backend_local.protocol import Changed, Done, Forgotten, Message, Request, Welcome
from headrace_chassis.backoff import delays
from headrace_chassis.logs import get_logger
from headrace_controller.backends.base import BackendError

log = get_logger()

_WELCOME_SECONDS = 30.0  # a nursery that is importing answers late
_REQUEST_SECONDS = 30.0
_LINE_LIMIT = 1 << 24


class Link:
    """Connects to the nursery, starting it if there is none, and again whenever it is lost."""

    def __init__(self, board: Board, deployment: str, directory: Path, agent: str, standby: int) -> None:
        self._board = board
        self._deployment = deployment
        self._directory = directory
        self._agent = agent
        self._standby = standby
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects for the first time; raises BackendError if that fails."""
        reader = await self._connect()
        self._keeping = asyncio.create_task(self._keep(reader), name="nursery link")

    async def close(self) -> None:
        """Disconnects."""
        if self._keeping:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None
        self._disconnected("this backend was closed")

    async def ask(self, request: Callable[[int], Request], within: float = _REQUEST_SECONDS) -> None:
        """Has a request carried out; asks again if the nursery dies over it, for all of them can be repeated."""
        try:
            async with asyncio.timeout(within):
                while (error := await self._ask_once(request)) is None:
                    continue
        except TimeoutError:
            raise BackendError(
                f"the nursery in {self._directory} does not answer: see {places.nursery(self._directory)}/{places.LOG}"
            ) from None
        if error:
            raise BackendError(error)

    async def _ask_once(self, request: Callable[[int], Request]) -> str | None:
        """Returns what went wrong, "" if nothing, None if the connection was lost over it."""
        if self._keeping is None:
            raise BackendError("the backend is closed: open it first")
        await self._connected.wait()
        assert self._writer
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(protocol.encode(request(number)))
            return await answer
        except _Lost:
            return None
        finally:
            del self._answers[number]

    async def _keep(self, reader: asyncio.StreamReader) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
                async for line in reader:
                    self._receive(protocol.decode_message(line))
            self._disconnected("the nursery is gone")
            log.warning("nursery lost", directory=str(self._directory))
            reader = await self._reconnect()
            log.info("nursery found again", directory=str(self._directory))

    async def _reconnect(self) -> asyncio.StreamReader:
        waits = delays(first=0.02, most=1.0)
        while True:
            try:
                return await self._connect()
            except BackendError as error:
                log.warning("nursery cannot be reached", error=str(error))
                await asyncio.sleep(next(waits))

    async def _connect(self) -> asyncio.StreamReader:
        """Connects, starting the nursery first if there is none, or one of another version."""
        for _ in range(3):
            try:
                async with asyncio.timeout(_WELCOME_SECONDS):
                    reader, writer, welcome = await self._greet()
            except (OSError, TimeoutError, msgspec.DecodeError) as error:
                log.debug("no nursery answers", error=repr(error))
                await asyncio.to_thread(launch, self._deployment, self._directory, self._agent)
                continue
            if welcome.version == protocol.VERSION:
                self._board.replace(welcome.reports)
                self._writer = writer
                self._connected.set()
                return reader
            # It forks what was installed when it was started. What it has started lives on.
            log.info("nursery of another version", version=welcome.version)
            await _retire(reader, writer)
        raise BackendError(f"the nursery in {self._directory} ends again and again: see its log there")

    async def _greet(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Welcome]:
        with places.short(places.nursery(self._directory) / places.SOCKET) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
        try:
            writer.write(protocol.encode(protocol.Hello(self._standby)))
            line = await reader.readline()
            message = protocol.decode_message(line)  # no line, if it has hung up, is no message either
            assert isinstance(message, Welcome)
        except BaseException:
            writer.close()
            raise
        return reader, writer, message

    def _receive(self, message: Message) -> None:
        match message:
            case Changed():
                self._board.put(message.report)
            case Forgotten():
                self._board.forget(message.cluster)
            case Done():
                answer = self._answers.get(message.id)
                if answer and not answer.done():
                    answer.set_result(message.error)
            case Welcome():
                pass

    def _disconnected(self, why: str) -> None:
        self._connected.clear()
        if self._writer:
            self._writer.close()
            self._writer = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_Lost(why))


class _Lost(Exception):
    """The connection was lost while an answer was awaited."""


async def _retire(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(protocol.encode(protocol.Shutdown(stop=False)))
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()
