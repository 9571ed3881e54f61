"""Processes forked from the nursery, with everything imported: at once, or in standby for whom it may be."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from setproctitle import setproctitle

from headrace_backend_local import protocol
from headrace_backend_local.marks import mark_this_process
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.loop import Loop

log = logging.getLogger("headrace.nursery")


def fork(body: Callable[[], int]) -> Child:
    """Forks a process that runs `body`, leads a process group and has nothing of the nursery open."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # A signal that finds the child before it has handlers of its own would be taken for one to the nursery.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if (pid := os.fork()) == 0:
            _run_forked(body, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with contextlib.suppress(OSError):  # it does so itself; whoever is first
        os.setpgid(pid, pid)
    return Child(pid)


def become(agent: Agent, order: protocol.Order) -> int:
    """Turns this process into the one ordered and runs it to its end."""
    mark_this_process(order.mark)
    setproctitle(order.title)
    output = os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(order.directory)
    os.environ.update(order.environment)
    return agent.run()


class Standby:
    """A process that waits to be told what it is."""

    def __init__(self, loop: Loop, agent: Agent, title: str) -> None:
        self._loop = loop
        self._ours, theirs = socket.socketpair()
        ours = self._ours

        def body() -> int:
            ours.close()
            return _stand_by(agent, theirs, title)

        self.child = fork(body)
        theirs.close()
        self.ready = False
        loop.watch(self._ours, self._on_readable)

    def assign(self, order: protocol.Order) -> bool:
        """Tells it what it is; False if it can no longer be told."""
        try:
            self._ours.sendall(protocol.encode(order))
        except OSError:
            return False
        finally:
            self._loop.release(self._ours)
        return True

    def dismiss(self) -> None:
        """Lets it go, unused."""
        self._loop.release(self._ours)

    def _on_readable(self) -> None:
        self.ready = True
        if not self._ours.recv(16):
            # It has died; the pool hears of that from its descriptor. An end of file would be readable for ever.
            self._loop.watch(self._ours, lambda: None)


def _stand_by(agent: Agent, told: socket.socket, title: str) -> int:
    setproctitle(title)
    agent.standby()
    gc.collect()
    gc.freeze()
    told.sendall(b"ready")
    with told.makefile("rb") as stream:
        line = stream.readline()
    told.close()
    if not line.endswith(b"\n"):  # the nursery has died, or has no use for it
        return 0
    return become(agent, protocol.decode_order(line))


def _run_forked(body: Callable[[], int], mask: Iterable[int]) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        log.handlers.clear()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = body()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - it must not return into the nursery's loop, whatever happens
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)
