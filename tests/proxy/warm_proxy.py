"""Forks proxies from a process that has imported their code, which takes longer than most tests.

Run as a script, this file is that process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn


class WarmProxy:
    """The process that forks; at its end it kills what it has forked."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    async def fork(self, env: dict[str, str], ready_fd: int | None) -> ForkedProxy:
        """Fork `python -m headrace_proxy serve` with this environment and a descriptor that it tells its readiness."""
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        with theirs:
            descriptors = [theirs.fileno(), write, *([] if ready_fd is None else [ready_fd])]
            socket.send_fds(self._control, [json.dumps(env).encode()], descriptors)
        os.close(write)
        stdout = StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: StreamReaderProtocol(stdout), os.fdopen(read, "rb"))
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return ForkedProxy(int(await reader.readline()), stdout, reader, writer)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


@dataclass(eq=False)
class ForkedProxy:
    """A forked proxy, with what `asyncio.subprocess.Process` has."""

    pid: int
    stdout: StreamReader
    _reader: StreamReader
    _writer: StreamWriter
    returncode: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody has waited for it yet
            os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(await self._reader.readline())
            self._writer.close()
        return self.returncode


def main(control: socket.socket) -> None:
    """Fork what is asked for, and tell process ids and exit codes, until the other side closes."""
    from headrace_proxy.__main__ import app

    gc.freeze()
    pids: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    selector.unregister(key.fd)
                    _tell_end(pids.pop(key.fd), key.data)
                    os.close(key.fd)
                    continue
                request, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 3)
                if not request:
                    for pid in pids.values():
                        os.kill(pid, signal.SIGKILL)
                    return
                teller, *others = descriptors
                if (pid := os.fork()) == 0:
                    _serve(app, json.loads(request), *others)
                for descriptor in others:
                    os.close(descriptor)
                os.write(teller, b"%d\n" % pid)
                end = os.pidfd_open(pid)
                pids[end] = pid
                selector.register(end, selectors.EVENT_READ, teller)


def _tell_end(pid: int, teller: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(teller, b"%d\n" % os.waitstatus_to_exitcode(status))
    os.close(teller)


def _serve(app: Callable[..., None], env: dict[str, str], output: int, *ready: int) -> NoReturn:
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        os.environ.clear()
        os.environ.update(env)
        if ready:
            os.environ["HEADRACE_READY_FD"] = str(ready[0])
        app(["serve"])
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - no exception may leave the fork
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
