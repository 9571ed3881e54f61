"""The fork server from which warm worker processes come.

A nanny cannot fork its worker itself: it has threads (gRPC's, Dask's). Python's own answer is a fork server, a process
without threads that forks when it is asked to. Here it is forked from the nursery, so it has everything imported, and
the nannies forked from there later find it in what they inherit: a descriptor of its socket, which has no name. So
nobody else can reach it, whoever kills it leaves nothing behind, and no path is too long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver as mp_forkserver
from multiprocessing import resource_tracker
from pathlib import Path
from types import ModuleType

import dask.config

from headrace.agent import signals

logger = logging.getLogger("headrace.agent")

# Dask's own number: strings must have the same hash in all workers of a cluster, and the seed is fixed at exec.
HASH_SEED = "6640"
_SOCKET = "fork"


@dataclass(frozen=True, slots=True)
class _Inherited:
    exited: int  # a pidfd: readable when the fork server has exited
    environment: Mapping[str, str]


_inherited: _Inherited | None = None
# The one object that Python's processes with the method "forkserver" go to. It cannot be told of a server.
_server: mp_forkserver.ForkServer = vars(mp_forkserver)["_forkserver"]


def start(directory: Path) -> None:
    """Forks the fork server; to be called once, in the nursery, with everything imported and no thread running.

    It lives until the nursery and all that was forked from it have ended.

    Parameters
    ----------
    directory
        Where its socket lies for a moment; must be accessible to this user only, and used by one nursery at a time.
    """
    global _inherited  # noqa: PLW0603 inherited by forks, which is the point of it
    if sys.version_info >= (3, 14) or not hasattr(os, "pidfd_open"):
        logger.warning("no fork server on this platform; worker processes start cold")
        return
    resource_tracker.ensure_running()
    with socket.socket(socket.AF_UNIX) as listener:
        address = _listen(listener, directory)
        alive_read, alive_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(alive_write)
            _serve(listener.detach(), alive_read)
        os.close(alive_read)
    _inherited = _Inherited(os.pidfd_open(pid), dict(os.environ))
    _server.__dict__.update(
        _forkserver_address=address, _forkserver_alive_fd=alive_write, ensure_running=_ensure_running
    )


def usable() -> bool:
    """Whether worker processes of this nanny can come from the inherited fork server.

    They cannot if they need variables that count at exec only (the hash seed, thread pools of numerical libraries,
    malloc) in other values than the fork server has.
    """
    if _inherited is None or not _is_there(_inherited):
        return False
    needed = pre_spawn_environment()
    different = [name for name, value in needed.items() if _inherited.environment.get(name) != value]
    if different:
        logger.info("worker processes start cold: %s differ from the fork server's", ", ".join(different))
    return not different


def pre_spawn_environment() -> dict[str, str]:
    """What Dask sets before it starts a worker process, as its nanny works it out."""
    configured: Mapping[str, object] = dask.config.get("distributed.nanny.pre-spawn-environ")
    environment = {name: os.environ.get(name, str(value)) for name, value in configured.items() if value is not None}
    if environment.get("PYTHONHASHSEED") in (None, "0"):
        environment["PYTHONHASHSEED"] = HASH_SEED
    return environment


def _listen(listener: socket.socket, directory: Path) -> str:
    """Listens; returns an address that is good in this process and what is forked from it, and nowhere else."""
    path = directory / _SOCKET
    path.unlink(missing_ok=True)  # of one that was killed in that moment
    parent = os.open(directory, os.O_PATH)
    try:
        listener.bind(f"/proc/self/fd/{parent}/{_SOCKET}")  # the kernel takes no more than 107 bytes
    finally:
        os.close(parent)
    listener.listen(128)
    # Whoever reaches the socket can run code as us.
    reached = os.open(path, os.O_PATH)
    path.unlink()
    return f"/proc/self/fd/{reached}"


def _serve(listener: int, alive: int) -> None:
    code = 1
    try:
        signals.reset()
        # The nursery's main module is none of a worker's business.
        sys.modules["__main__"] = ModuleType("__main__")
        mp_forkserver.main(listener, alive, [])
    except SystemExit:
        code = 0
    except BaseException:
        logger.exception("the fork server failed; worker processes start cold from now on")
    finally:
        os._exit(code)


def _ensure_running() -> None:
    """Stands in for the method that would wait for a child, or start a server of its own."""
    assert _inherited is not None
    with contextlib.suppress(OSError):
        resource_tracker.ensure_running()
    if not _is_there(_inherited):
        logger.warning("the fork server has gone; starting another")
        del _server.__dict__["ensure_running"]
        _server.__dict__.update(_forkserver_address=None, _forkserver_alive_fd=None)
        _server.ensure_running()


def _is_there(inherited: _Inherited) -> bool:
    exited, _, _ = select.select([inherited.exited], [], [], 0)
    return not exited
