"""The controller's connection to the zygote, made again whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import msgspec

from headrace.backoff import delays
from headrace.v1.enums import WaitReason
from headrace_backend_local import paths, protocol
from headrace_backend_local.protocol import Changed, Done, Forgotten, Hello, Message, Request, Warm, Welcome
from headrace_backend_local.status_cache import StatusCache
from headrace_backend_local.zygote_process import launch
from headrace_chassis.logs import get_logger
from headrace_controller.backends.base import BackendError

log = get_logger()

_WELCOME_SECONDS = 30.0  # a zygote that is importing answers late
_WARM_SECONDS = 15.0
_REQUEST_SECONDS = 30.0
_AGAIN_SECONDS = 0.01
_LINE_LIMIT = 1 << 24


class ZygoteClient:
    """Connects to the zygote, and starts it if it does not run."""

    def __init__(
        self, cache: StatusCache, deployment: str, directory: Path, agent: str, hello: Hello, *, accounts: bool
    ) -> None:
        self._cache = cache
        self._deployment = deployment
        self._directory = directory
        self._agent = agent
        self._hello = hello
        self._accounts = accounts
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._failure: BackendError | None = None  # of the last try to connect
        self._tried = asyncio.Event()  # set once the next try has ended
        self._warm = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects; raises `BackendError` if that fails."""
        reader = await self._connect()
        self._reading = asyncio.create_task(self._read(reader), name="zygote client")

    async def warm(self) -> None:
        """Returns once the zygote is warm, or after some time."""
        try:
            async with asyncio.timeout(_WARM_SECONDS):
                await self._warm.wait()
        except TimeoutError:
            log.warning("zygote is not warm yet: the first clusters start slower", directory=str(self._directory))
            self._warm.set()

    async def close(self) -> None:
        """Disconnects."""
        if self._reading:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None
        self._disconnect("this backend was closed")

    async def ask(
        self, request: Callable[[int], Request], within: float = _REQUEST_SECONDS, *, files: Sequence[bytes] = ()
    ) -> None:
        """Has a request carried out; repeats it if the zygote dies meanwhile. Raises `BackendError`.

        `files` are the contents of files that go with the request.
        """
        try:
            async with asyncio.timeout(within):
                while (error := await self._ask_once(request, files)) is None:
                    continue
        except TimeoutError:
            log_file = paths.zygote(self._directory) / paths.LOG
            why = f"the zygote in {self._directory} does not answer: see {log_file}"
            raise BackendError(str(self._failure or why), wait=WaitReason.PLATFORM_AWAY) from None
        if error:
            raise BackendError(error)

    async def _ask_once(self, request: Callable[[int], Request], files: Sequence[bytes]) -> str | None:
        """Returns the error, "" if there is none, None if the connection was lost."""
        if self._reading is None:
            raise BackendError("the backend is closed: open it first")
        while not self._connected.is_set():
            if (failure := self._failure) is not None and failure.cause is not None:
                raise BackendError(str(failure), cause=failure.cause)
            await self._tried.wait()
        assert self._writer
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            await _send(self._writer, protocol.encode(request(number)), files)
            return await answer
        except _Lost:
            return None
        except ConnectionError:
            await asyncio.sleep(_AGAIN_SECONDS)
            return None
        except OSError as error:
            raise BackendError(f"the zygote cannot be sent what to start: {error}") from error
        finally:
            del self._answers[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
                async for line in reader:
                    self._receive(protocol.decode_message(line))
            self._disconnect("the zygote is gone")
            log.warning("zygote lost", directory=str(self._directory))
            reader = await self._reconnect()
            log.info("zygote found again", directory=str(self._directory))

    async def _reconnect(self) -> asyncio.StreamReader:
        pauses = delays(0.02, 1.0)
        while True:
            try:
                reader = await self._connect()
            except BackendError as error:
                log.warning("zygote cannot be reached", error=str(error))
                self._failure = error
                self._next_try()
                await asyncio.sleep(next(pauses))
            else:
                self._failure = None
                self._next_try()
                return reader

    def _next_try(self) -> None:
        """Wakes those who wait for the end of this try to connect."""
        self._tried.set()
        self._tried = asyncio.Event()

    async def _connect(self) -> asyncio.StreamReader:
        """Connects; starts the zygote first if it does not run, or runs in another version."""
        for _ in range(3):
            try:
                async with asyncio.timeout(_WELCOME_SECONDS):
                    reader, writer, welcome = await self._greet()
            except (OSError, TimeoutError, msgspec.DecodeError) as error:
                log.debug("no zygote answers", error=repr(error))
                await asyncio.to_thread(launch, self._deployment, self._directory, self._agent, accounts=self._accounts)
                continue
            if welcome.version == protocol.VERSION and welcome.accounts == self._accounts:
                self._cache.replace(welcome.reports)
                self._writer = writer
                self._connected.set()
                if welcome.warm:
                    self._warm.set()
                return reader
            # It forks what was installed when it was started. Its processes live on.
            log.info("zygote of another version is replaced", version=welcome.version, accounts=welcome.accounts)
            await _retire(reader, writer)
        raise BackendError(
            f"the zygote in {self._directory} keeps ending: see {paths.zygote(self._directory)}/{paths.LOG}"
        )

    async def _greet(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Welcome]:
        with paths.short(paths.zygote(self._directory) / paths.SOCKET) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until everything is sent
        try:
            writer.write(protocol.encode(self._hello))
            line = await reader.readline()
            welcome = protocol.decode_welcome(line)  # an empty line, if it has hung up, is an error too
        except BaseException:
            writer.close()
            raise
        return reader, writer, welcome

    def _receive(self, message: Message) -> None:
        match message:
            case Changed():
                self._cache.accept(message.report)
            case Forgotten():
                self._cache.discard(message.cluster)
            case Done():
                answer = self._answers.get(message.id)
                if answer and not answer.done():
                    answer.set_result(message.error)
            case Warm():
                self._warm.set()
            case Welcome():
                pass

    def _disconnect(self, reason: str) -> None:
        self._connected.clear()
        if self._writer:
            self._writer.close()
            self._writer = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_Lost(reason))


class _Lost(Exception):
    """The connection was lost before the answer came."""


async def _send(writer: asyncio.StreamWriter, line: bytes, files: Sequence[bytes]) -> None:
    """Sends a line, and with its first byte files of these contents."""
    sent = await _send_start(writer, line, files) if files else 0
    writer.write(line[sent:])


async def _send_start(writer: asyncio.StreamWriter, line: bytes, files: Sequence[bytes]) -> int:
    """Sends what the socket takes at once, after all that is waiting to be sent; returns how much that was."""
    with _nameless(files) as descriptors:
        while True:
            while writer.transport.get_write_buffer_size():
                await writer.drain()
            if writer.is_closing():
                raise ConnectionResetError
            number: int = writer.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(number)) as sock, contextlib.suppress(BlockingIOError):
                return socket.send_fds(sock, [line], descriptors)
            await asyncio.sleep(_AGAIN_SECONDS)


@contextlib.contextmanager
def _nameless(files: Sequence[bytes]) -> Generator[list[int]]:
    """Returns descriptors of files that have no name, so that nobody else opens them."""
    descriptors: list[int] = []
    try:
        for content in files:
            descriptors.append(os.memfd_create("launch", os.MFD_CLOEXEC))
            with open(descriptors[-1], "wb", buffering=0, closefd=False) as file:
                file.write(content)
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


async def _retire(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(protocol.encode(protocol.Shutdown(stop=False)))
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()
