"""The life of the nursery's process: only one a directory, away from any terminal, ended when nobody needs it."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import logging
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast

from setproctitle import setproctitle

from headrace_backend_local import marks, places, protocol
from headrace_backend_local.protocol import Forget, Hello, Request, Shutdown, Start, Stop, Welcome
from headrace_backend_local.zygote import procfs
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.keeper import Keeper
from headrace_backend_local.zygote.loop import Loop
from headrace_backend_local.zygote.server import Connection, Server

log = logging.getLogger("headrace.nursery")

_LOOK_AFTER_SECONDS = 2.0
_IDLE_SECONDS = 60.0
_HELPERS_END_SECONDS = 0.3
_LOG_LIMIT = 1024 * 1024


def run(deployment: str, directory: Path, agent: str, tell: int) -> NoReturn:
    """Runs the nursery in this process; closes `tell` when it listens, writes to it why not if it cannot."""
    try:
        os.setsid()
        nursery = _begin(deployment, directory, agent)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whoever has started it is told
        os.write(tell, f"{error}\n".encode())
        os._exit(1)
    os.close(tell)
    try:
        if nursery:
            nursery.run()
    except Exception:
        log.exception("the nursery has failed")
    finally:
        os._exit(0)


def _begin(deployment: str, directory: Path, agent: str) -> Nursery | None:
    """Makes the nursery, unless there is one already."""
    os.chdir(_home(directory))
    while (lock := _lock()) is None:
        if _answers():
            return None
        time.sleep(0.02)  # the one before is about to end
    _redirect()
    return Nursery(marks.site(deployment, directory), directory, agent, lock)


class Nursery:
    """Answers controllers."""

    def __init__(self, site: str, directory: Path, agent: str, lock: int) -> None:
        setproctitle(f"headrace nursery headrace={site}")
        self._loop = Loop()
        self._loop.keep(lock)
        self._idle_since = time.monotonic()
        self._pick_up_signals()
        module = cast("Agent", importlib.import_module(agent))
        self._server = Server(self._loop, Path(places.SOCKET), self._handle)
        self._keeper = Keeper(self._loop, site, directory, module, self._server.publish)

    def run(self) -> None:
        """Runs until it is told to end, or nobody needs it."""
        log.info("ready, pid %s", os.getpid())
        self._look_after()
        self._loop.run()
        Path(places.SOCKET).unlink(missing_ok=True)
        self._keeper.warmth.end()
        if not self._keeper.has_children:
            self._end_helpers()
        log.info("ended")

    def _handle(self, connection: Connection, request: Request) -> None:
        match request:
            case Hello():
                connection.send(Welcome(protocol.VERSION, os.getpid(), self._keeper.reports))
                self._keeper.warmth.keep(request.standby)
            case Start():
                self._keeper.start(request.orders)
                connection.done(request.id)
            case Stop():
                number = request.id
                self._keeper.stop(request.cluster, request.processes, lambda error: connection.done(number, error))
            case Forget():
                connection.done(request.id, self._keeper.forget(request.cluster))
            case Shutdown(stop=True):
                self._keeper.stop(None, None, lambda _error: self._loop.stop())
            case Shutdown():
                self._loop.stop()

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._server.connections or self._keeper.has_children:
            self._idle_since = now
        if now - self._idle_since > _IDLE_SECONDS:
            self._loop.stop()
        self._keeper.look_after()
        self._loop.call_later(_LOOK_AFTER_SECONDS, self._look_after)

    def _end_helpers(self) -> None:
        """Ends what the agent has started beside the nursery: told by the end of what it keeps open, else killed."""
        with os.scandir("/proc/self/fd") as entries:
            descriptors = [int(entry.name) for entry in entries]
        for descriptor in descriptors:
            if descriptor > 2 and not self._loop.is_mine(descriptor):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        deadline = time.monotonic() + _HELPERS_END_SECONDS
        while (helpers := _session()) and time.monotonic() < deadline:
            time.sleep(0.005)
        for pid in helpers:
            log.warning("pid %s does not end by itself: killed", pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _pick_up_signals(self) -> None:
        ours, pythons = socket.socketpair()
        ours.setblocking(False)
        pythons.setblocking(False)
        signal.set_wakeup_fd(pythons.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _wake)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._loop.watch(pythons, lambda: None)
        self._loop.watch(ours, self._loop.stop)


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Python has written to the descriptor that the loop watches: nothing else is to be done."""


def _home(directory: Path) -> Path:
    places.make(directory)
    home = places.nursery(directory)
    seen = home.stat()
    if seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise SystemExit(f"{home} must belong to this user and be closed to others: chmod 700 {home}")
    return home


def _lock() -> int | None:
    """Makes sure that this is the only one, for the life of the process; what it forks does not inherit that."""
    descriptor = os.open(places.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _answers() -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(places.SOCKET) == 0


def _redirect() -> None:
    descriptor = os.open(places.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if os.fstat(descriptor).st_size > _LOG_LIMIT:
        os.ftruncate(descriptor, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (descriptor, 1), (descriptor, 2)):
        os.dup2(source, target)
    os.close(descriptor)
    os.close(nothing)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue] - a TextIOWrapper
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 16)), hard))


def _session() -> list[int]:
    """Returns what else is in this session."""
    session = os.getsid(0)
    return [p.pid for p in procfs.processes() if p.session == session and p.pid != os.getpid()]
