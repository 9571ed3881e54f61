"""Processes forked from the zygote, with everything imported: for a launch spec at once, or in standby."""

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
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

from headrace_backend_local import protocol
from headrace_backend_local.process_tags import mark_this_process, tag_this_process
from headrace_backend_local.protocol import LaunchSpec
from headrace_backend_local.zygote.account import assume
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.launch_files import LaunchFiles
from headrace_backend_local.zygote.loop import Loop
from headrace_controller.backends.process import Role

_PIECE = 1 << 16

log = logging.getLogger("headrace.zygote")


def fork(
    loop: Loop, body: Callable[[], int], nice: int, files: LaunchFiles | None = None, *, session: bool = False
) -> Child:
    """Forks a process that runs `body`. It leads a process group; of the zygote's files it has `files` open only.

    With `session` it leads a session too: other accounts' processes cannot join its group.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # A signal that reaches the child before it has handlers of its own would be taken for one to the zygote.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with loop.lending(files.all if files else ()):
            if (pid := os.fork()) == 0:
                _run_forked(body, nice, mask, session=session)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if not session:
        with contextlib.suppress(OSError):  # the child does so too, whichever is first
            os.setpgid(pid, pid)
    try:
        return Child(pid, session=session)
    except OSError:  # such as too many open files
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def become(agent: Agent, spec: LaunchSpec, files: LaunchFiles) -> int:
    """Turns this process into the one of a launch spec and runs it until it exits."""
    tag_this_process(spec.tag)
    mark_this_process(spec.tag)
    setproctitle(spec.title)
    enter(spec, files)
    if spec.account and spec.role is Role.WORKER:
        agent.start_helpers([files.secrets])
    os.environ.update(files.read_secrets().environment)
    return agent.run()


def enter(spec: LaunchSpec, files: LaunchFiles) -> None:
    """Makes this process one of its account, with its log and in its directory, before it reads its secrets."""
    files.redirect_output()
    if spec.account:
        assume(spec.account)
    files.enter_directory()


class Standby:
    """A forked process that waits for its launch spec."""

    def __init__(
        self, loop: Loop, agent: Agent, title: str, nice: int, on_ready: Callable[[], None], *, session: bool
    ) -> None:
        self._loop = loop
        self._ours, theirs = socket.socketpair()
        ours = self._ours

        def body() -> int:
            ours.close()
            return _stand_by(agent, theirs, title)

        try:
            self.child = fork(loop, body, nice, session=session)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.ready = False
        self._on_ready = on_ready
        loop.watch(self._ours, self._on_readable)

    def assign(self, spec: LaunchSpec, files: LaunchFiles) -> bool:
        """Sends the launch spec and the files; returns False if the process has died."""
        line = protocol.encode(spec)
        try:
            self._ours.sendall(line[socket.send_fds(self._ours, [line], files.all) :])
        except OSError:
            return False
        finally:
            self._loop.release(self._ours)
        return True

    def dismiss(self) -> None:
        """Ends it, unused."""
        self._loop.release(self._ours)

    def _on_readable(self) -> None:
        if self._ours.recv(16):
            self.ready = True
            self._on_ready()
        else:
            # It has died, which its descriptor tells the pool; an end of file would stay readable.
            self._loop.watch(self._ours, lambda: None)


def _stand_by(agent: Agent, zygote: socket.socket, title: str) -> int:
    setproctitle(title)
    agent.standby()
    gc.collect()
    gc.freeze()
    zygote.sendall(b"ready")
    line, descriptors, _, _ = socket.recv_fds(zygote, _PIECE, 3, socket.MSG_CMSG_CLOEXEC)
    while piece := zygote.recv(_PIECE):
        line += piece
    zygote.close()
    if not line.endswith(b"\n"):  # the zygote has died, or dismisses this process
        return 0
    return become(agent, protocol.decode_spec(line), LaunchFiles(*descriptors))


def _run_forked(body: Callable[[], int], nice: int, mask: Iterable[int], *, session: bool) -> NoReturn:
    code = 1
    try:
        os.nice(nice)
        if session:
            os.setsid()
            with contextlib.suppress(OSError):  # the kernel may divide processors by sessions
                Path("/proc/self/autogroup").write_text(str(nice))
        else:
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
    except BaseException:  # noqa: BLE001 whatever happens, it must not return into the zygote's loop
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)
