"""The fork server, which forks warm worker processes.

A nanny cannot fork its worker itself: it has threads (gRPC's, Dask's). Python's own answer is a fork server, a process
without threads that forks on request. Here it is forked from the zygote, or from what becomes a nanny itself, so it
has everything imported. The nannies, which the zygote forks later, inherit a descriptor of its socket. The socket has
no name, so that no other process can connect to it, nothing is left behind when it is killed, and no path is too long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import forkserver as mp_forkserver
from multiprocessing import resource_tracker
from pathlib import Path
from types import ModuleType

import dask.config
import distributed.utils

from headrace.agent import signals, spawn_environment

logger = logging.getLogger("headrace.agent")

_SOCKET = "fork"


@dataclass(frozen=True, slots=True)
class _Inherited:
    pid: int
    exited: int  # a pidfd: readable when the fork server has exited
    others: tuple[int, ...]  # descriptors of its socket, and of the pipe whose end ends it
    environment: Mapping[str, str]


_inherited: _Inherited | None = None
# The object that Python's start method "forkserver" uses; it has no public way to use an existing server.
_server: mp_forkserver.ForkServer = vars(mp_forkserver)["_forkserver"]


def start(directory: Path, prepare: Callable[[], None] | None = None) -> None:
    """Forks the fork server. Called in the zygote, after all imports and before any thread; again if it `has_ended`.

    It lives until the zygote and all processes forked from it have ended.

    Parameters
    ----------
    directory
        Folder of its socket until that is unlinked; only this user may access it, and only one zygote at a time use it.
    prepare
        Called in the forked process first.
    """
    global _inherited  # noqa: PLW0603 inherited by forks, which is the point of it
    if not spawn_environment.FORKABLE:
        logger.warning("no fork server on this platform; worker processes start cold")
        return
    if _inherited is not None:
        _forget(_inherited)
        _inherited = None
    resource_tracker.ensure_running()
    with socket.socket(socket.AF_UNIX) as listener:
        reached = _listen(listener, directory)
        alive_read, alive_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(alive_write)
            _serve(listener.detach(), alive_read, prepare)
        os.close(alive_read)
    _inherited = _Inherited(pid, os.pidfd_open(pid), (alive_write, reached), dict(os.environ))
    # Dask would import here what a server of its own is to have imported: pandas, for example.
    distributed.utils.__dict__["_forkserver_preload_set"] = True
    _server.__dict__.update(
        _forkserver_address=f"/proc/self/fd/{reached}",
        _forkserver_alive_fd=alive_write,
        ensure_running=_ensure_running,
    )


def start_own() -> None:
    """Forks the fork server of a process that becomes a nanny itself, and was executed with `spawn_environment`.

    Otherwise its worker process would be executed, and import all of Dask once more.
    """
    try:
        if spawn_environment.FORKABLE:
            _start_own()
    except OSError as error:
        logger.warning("worker processes start cold: %s", error)
    finally:
        spawn_environment.remove_added()


def _start_own() -> None:
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        logger.info("worker processes start cold: a library that is imported here starts threads")
        return
    os.register_at_fork(after_in_child=_draw_again)
    with tempfile.TemporaryDirectory(prefix="headrace-fork-") as private:
        tempfile.tempdir = None  # found in this process's environment; the worker's may be another
        start(Path(private))


def has_ended() -> bool:
    """Whether the fork server that was started has ended."""
    return _inherited is not None and not _alive(_inherited)


def usable() -> bool:
    """Whether the inherited fork server can fork the worker processes of this nanny.

    It cannot if they need other values of variables that are read at exec only (the hash seed, thread pools of
    numerical libraries, malloc).
    """
    if _inherited is None or not _alive(_inherited):
        return False
    needed = pre_spawn_environment()
    different = [name for name, value in needed.items() if _inherited.environment.get(name) != value]
    if different:
        logger.info("worker processes start cold: %s differ from the fork server's", ", ".join(different))
    return not different


def pre_spawn_environment() -> dict[str, str]:
    """Returns the variables that Dask's nanny sets before it starts a worker process."""
    configured: Mapping[str, object] = dask.config.get("distributed.nanny.pre-spawn-environ")
    environment = {name: os.environ.get(name, str(value)) for name, value in configured.items() if value is not None}
    if environment.get("PYTHONHASHSEED") in (None, "0"):
        environment["PYTHONHASHSEED"] = spawn_environment.HASH_SEED
    return environment


def _listen(listener: socket.socket, directory: Path) -> int:
    """Listens; returns a descriptor of the socket, which only this process and those forked from it can connect to."""
    path = directory / _SOCKET
    path.unlink(missing_ok=True)  # left by one that was killed here
    parent = os.open(directory, os.O_PATH)
    try:
        listener.bind(f"/proc/self/fd/{parent}/{_SOCKET}")  # the kernel takes no more than 107 bytes
    finally:
        os.close(parent)
    listener.listen(128)
    # A process that can connect to the socket can run code as this user.
    reached = os.open(path, os.O_PATH)
    path.unlink()
    return reached


def _forget(ended: _Inherited) -> None:
    """Reaps a fork server that has ended, in its parent."""
    for descriptor in (ended.exited, *ended.others):
        os.close(descriptor)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(ended.pid, 0)


def _serve(listener: int, alive: int, prepare: Callable[[], None] | None) -> None:
    code = 1
    try:
        if prepare:
            prepare()
        signals.reset()
        # A worker would import the zygote's main module again.
        sys.modules["__main__"] = ModuleType("__main__")
        mp_forkserver.main(listener, alive, [])
    except SystemExit:
        code = 0
    except BaseException:
        logger.exception("the fork server failed; all further worker processes start cold")
    finally:
        os._exit(code)


def _ensure_running() -> None:
    """Replaces the method that would wait for a child process, or start another server."""
    assert _inherited is not None
    with contextlib.suppress(OSError):
        resource_tracker.ensure_running()
    if not _alive(_inherited):
        logger.warning("the fork server has ended; starting another")
        del _server.__dict__["ensure_running"]
        _server.__dict__.update(_forkserver_address=None, _forkserver_alive_fd=None)
        _server.ensure_running()


def _draw_again() -> None:
    """Lets worker processes that are forked from one another draw different random numbers."""
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed()


def _alive(inherited: _Inherited) -> bool:
    poll = select.poll()  # select(2) takes no descriptor above 1023
    poll.register(inherited.exited, select.POLLIN)
    return not poll.poll(0)
