"""What a forked process runs: a module with the functions of `Agent`. This one runs headrace's own agent."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from setproctitle import getproctitle, setproctitle


class Agent(Protocol):
    """A module that a zygote is given."""

    def preload(self) -> Iterator[bool]:
        """Imports everything, once, in the zygote. Must start no thread.

        Yields between its pieces, so that the zygote can answer, whether schedulers can be forked already.
        """
        ...

    def start_helpers(self, private: Sequence[int]) -> None:
        """Starts what forked processes need beside them, once everything is imported.

        In the zygote and its private directory if processes share it, otherwise in each worker's process and working
        directory. What it starts must close the descriptors in `private`.
        """
        ...

    def repair(self) -> bool:
        """Starts again what `start_helpers` has started, if it has ended; returns whether it had."""
        ...

    def standby(self) -> None:
        """Prepares a process in standby, as far as that is possible before its cluster is known."""
        ...

    def run(self) -> int:
        """Runs the process that the environment names, in a forked process; returns the exit code."""
        ...


def preload() -> Iterator[bool]:
    """Imports what a scheduler or worker needs."""
    os.register_at_fork(after_in_child=_after_fork)
    # Garbage freed between objects that stay would leave holes that every forked process fills for itself. And a later
    # collection must not touch these objects: memory that is written to is no longer shared.
    gc.disable()
    try:
        from headrace.agent import process, warm_up

        yield False
        for forkable in warm_up.preload():
            gc.freeze()
            yield forkable
    finally:
        gc.enable()
    assert process.run


def start_helpers(private: Sequence[int]) -> None:
    """Starts the server that forks workers."""
    from headrace.agent import forkserver

    title = getproctitle().replace("zygote", "fork server", 1).replace("worker", "fork server", 1)

    def prepare() -> None:
        for descriptor in private:
            os.close(descriptor)
        setproctitle(title)

    if not private:
        forkserver.start(Path.cwd(), prepare)
        return
    with tempfile.TemporaryDirectory(prefix=".fork-", dir=Path.cwd()) as directory:  # other workers work here too
        forkserver.start(Path(directory), prepare)


def repair() -> bool:
    """Starts another fork server if the one that was started has ended: processes that are forked later have it."""
    from headrace.agent import forkserver

    if not forkserver.has_ended():
        return False
    start_helpers(())
    return True


def standby() -> None:
    """Builds what a scheduler builds lazily."""
    from headrace.agent import warm_up

    warm_up.standby()


def run() -> int:
    """Runs a scheduler, or a worker with its nanny, until it exits."""
    import dask.config

    from headrace.agent.identity import Identity
    from headrace.agent.process import run as run_process

    dask.config.set({"temporary-directory": str(Path.cwd())})
    return run_process(Identity.from_environment(os.environ))


def _after_fork() -> None:
    """Draws again what a process draws once, so that forked processes differ."""
    gc.enable()
    multiprocessing.current_process().authkey = os.urandom(32)
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed()
