"""Child processes. They are forked, with everything imported that this process has imported, and end with it.

This process must stay as clean as a fork needs it: it starts no thread and creates no gRPC object.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TextIO

from setproctitle import setproctitle

from headrace_chassis.environment import replace_environment
from headrace_chassis.readiness import READY_FD

_PR_SET_PDEATHSIG = 1
_RESET_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CANNOT_EXECUTE = 127
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the system that runs as a process of its own.

    Attributes
    ----------
    name
        For the console, the log file and the title of the process.
    main
        What the process runs.
    environment
        Its environment variables.
    probe
        Returns when the part is ready. Without it, the part writes "ready" to the descriptor in HEADRACE_READY_FD.
    ready_seconds
        It is started again if it is not ready by then.
    repair
        Runs, as a process of its own, after the part was not ready. It prints what it has repaired.
    successor
        Makes the part that takes over from this one while it runs, so that it is never away: called with 1, then with
        2, and so on. It needs a `probe`. What it took over from ends by itself. None: that is not possible.
    """

    name: str
    main: Callable[[], object]
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    probe: Callable[[], Awaitable[None]] | None = None
    ready_seconds: float = 30.0
    repair: Callable[[], None] | None = None
    successor: Callable[[int], Part] | None = None


def command(arguments: Sequence[str]) -> Callable[[], NoReturn]:
    """Return a `Part.main` that executes a program."""

    def execute() -> NoReturn:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program would inherit that
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execv(arguments[0], list(arguments))  # noqa: S606 - without a shell on purpose
        except OSError as error:
            print(f"{arguments[0]} cannot be executed: {error.strerror}", file=sys.stderr)
            sys.exit(_CANNOT_EXECUTE)

    return execute


class Process:
    """A running child. It is watched through a descriptor: its pid never comes to mean another process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.pidfd_open(pid)
        self._end: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._on_end)

    @property
    def running(self) -> bool:
        return not self._end.done()

    async def wait(self) -> int:
        """Wait for the end; return the exit code, negative for a signal."""
        return await asyncio.shield(self._end)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.running:
            signal.pidfd_send_signal(self._descriptor, number)

    async def stop(self, within: float) -> None:
        """Ask it to end; kill it with its process group when it has not ended in time."""
        self.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await self.wait()
        except TimeoutError:
            self.kill()
            await self.wait()

    def kill(self) -> None:
        """Kill it with its process group, now."""
        if self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)  # it may not have a group of its own yet

    def _on_end(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        _, status = os.waitpid(self.pid, 0)
        self._end.set_result(os.waitstatus_to_exitcode(status))


def spawn(part: Part, directory: Path, log: int, ready: int | None = None) -> Process:
    """Fork a child that runs a part.

    Parameters
    ----------
    part
        What to run.
    directory
        Working directory of the child.
    log
        Descriptor that its output goes to.
    ready
        Descriptor that HEADRACE_READY_FD names in the child.
    """
    parent = os.getpid()
    # A signal must not reach the child before it has its own handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def prepare() -> None:
        _detach(log, ready)
        _end_with(parent)
        os.environ["SPT_NOENV"] = "1"  # the title must leave the environment readable; it needs the original one
        setproctitle(f"headrace {part.name}")
        replace_environment(part.environment)
        if ready is not None:
            os.environ[READY_FD] = str(ready)
        os.chdir(directory)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        pid = os.fork()
        if pid == 0:
            _run(prepare, part.main)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        return Process(pid)
    except OSError:  # such as too many open files
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _run(prepare: Callable[[], None], main: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        prepare()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - nothing of the child may return into the parent's code
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def _detach(log: int, ready: int | None) -> None:
    """Leave what belongs to the parent: its terminal, its descriptors, its handlers of signals."""
    signal.set_wakeup_fd(-1)
    for number in _RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.setsid()  # Ctrl-C in the terminal is for the parent, which ends its children in order
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for path in list(Path("/dev/fd").iterdir()):
        if (descriptor := int(path.name)) > 2 and descriptor != ready:
            with suppress(OSError):
                os.close(descriptor)
    if ready is not None:
        os.set_inheritable(ready, True)
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
