"""The life of the zygote's process: one per local directory, away from any terminal, ended when it is not needed."""

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

from headrace_backend_local import paths, protocol
from headrace_backend_local.process_tags import site
from headrace_backend_local.protocol import Forget, Hello, Request, Shutdown, Start, Stop, Welcome
from headrace_backend_local.zygote.account import obstacle
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.loop import Loop
from headrace_backend_local.zygote.process_table import ProcessTable
from headrace_backend_local.zygote.server import Connection, Server
from headrace_chassis import procfs, tenant_files

log = logging.getLogger("headrace.zygote")

_MAINTAIN_SECONDS = 2.0
_IDLE_SECONDS = 60.0
_HELPERS_END_SECONDS = 0.3
_LOG_LIMIT = 1024 * 1024


def run(
    deployment: str, directory: Path, agent: str, hello: Hello, started: int, *, accounts: bool = False
) -> NoReturn:
    """Runs the zygote in this process; closes `started` when it listens, and writes there why it cannot.

    With `accounts` it starts processes as other accounts.
    """
    try:
        os.setsid()
        zygote = _start(site(deployment, directory), directory, agent, accounts=accounts)
    except (Exception, SystemExit) as error:  # noqa: BLE001 reported to the process that starts it
        os.write(started, f"{error}\n".encode())
        os._exit(1)
    os.close(started)
    try:
        if zygote:
            zygote.run(hello)
    except Exception:
        log.exception("the zygote has failed")
    finally:
        os._exit(0)


def _start(site: str, directory: Path, agent: str, *, accounts: bool) -> Zygote | None:
    """Makes the zygote, unless one runs already."""
    os.chdir(_private_directory(directory, reachable=accounts))
    if accounts and (reason := obstacle(directory, Path(sys.prefix), Path(sys.base_prefix))):
        raise SystemExit(reason)
    while (lock := _lock()) is None:
        if _is_answered():
            return None
        time.sleep(0.02)  # the other one is ending
    _redirect_output()
    return Zygote(site, directory, agent, lock, accounts=accounts)


class Zygote:
    """Answers controllers."""

    def __init__(self, site: str, directory: Path, agent: str, lock: int, *, accounts: bool) -> None:
        setproctitle(f"headrace zygote headrace={site}")
        self._loop = Loop()
        self._loop.keep(lock)
        self._accounts = accounts
        self._idle_since = time.monotonic()
        self._handle_signals()
        module = cast("Agent", importlib.import_module(agent))
        self._server = Server(self._loop, Path(paths.SOCKET), self._handle)
        self._table = ProcessTable(
            self._loop, site, directory, module, self._server.publish, share_helpers=not accounts
        )

    def run(self, hello: Hello) -> None:
        """Runs until it is asked to end, or nobody needs it."""
        log.info("ready, pid %s", os.getpid())
        self._table.configure(hello.standby, hello.nice)
        self._maintain()
        self._loop.run()
        Path(paths.SOCKET).unlink(missing_ok=True)
        self._table.close()
        if not self._table.has_children:
            self._end_helpers()
        log.info("ended")

    def _handle(self, connection: Connection, request: Request, files: list[int]) -> None:
        match request:
            case Hello():
                self._table.configure(request.standby, request.nice)
                welcome = Welcome(protocol.VERSION, os.getpid(), self._table.reports, self._table.warm, self._accounts)
                connection.send(welcome)
            case Start():
                self._table.start(request.specs, files)
                connection.done(request.id)
            case Stop():
                number = request.id
                self._table.stop(request.cluster, request.processes, lambda error: connection.done(number, error))
            case Forget():
                connection.done(request.id, self._table.forget(request.cluster))
            case Shutdown(stop=True):
                self._table.stop(None, None, lambda _error: self._loop.stop())
            case Shutdown():
                self._loop.stop()

    def _maintain(self) -> None:
        now = time.monotonic()
        if self._server.connections or self._table.has_children:
            self._idle_since = now
        if now - self._idle_since > _IDLE_SECONDS:
            self._loop.stop()
        self._loop.call_later(_MAINTAIN_SECONDS, self._maintain)
        self._table.maintain()

    def _end_helpers(self) -> None:
        """Ends what the agent has started beside the zygote: by closing what they watch, else with SIGKILL."""
        with os.scandir("/proc/self/fd") as entries:
            descriptors = [int(entry.name) for entry in entries]
        for descriptor in descriptors:
            if descriptor > 2 and not self._loop.is_mine(descriptor):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        deadline = time.monotonic() + _HELPERS_END_SECONDS
        while (helpers := _others_in_session()) and time.monotonic() < deadline:
            time.sleep(0.005)
        for pid in helpers:
            log.warning("killed pid %s, which did not end by itself", pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _handle_signals(self) -> None:
        ours, pythons = socket.socketpair()
        ours.setblocking(False)
        pythons.setblocking(False)
        signal.set_wakeup_fd(pythons.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._loop.watch(pythons, lambda: None)
        self._loop.watch(ours, self._loop.stop)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Does nothing: Python has written to the socket that the loop watches."""


def _private_directory(directory: Path, *, reachable: bool) -> Path:
    paths.make(directory, reachable=reachable)
    private = paths.zygote(directory)
    seen = private.stat()
    if seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise SystemExit(f"{private} must belong to this user and be closed to others: chmod 700 {private}")
    return private


def _lock() -> int | None:
    """Locks the directory for the life of this process, not of its forks; None if another zygote has locked it."""
    descriptor = tenant_files.open_file(Path(paths.LOCK), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _is_answered() -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(paths.SOCKET) == 0


def _redirect_output() -> None:
    descriptor = tenant_files.open_file(Path(paths.LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
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


def _others_in_session() -> list[int]:
    session = os.getsid(0)
    return [p.pid for p in procfs.processes() if p.session == session and p.pid != os.getpid()]
