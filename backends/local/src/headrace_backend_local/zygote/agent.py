"""What the nursery has of the agent: the functions of `Agent`, here those of headrace's own agent."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Protocol

from setproctitle import getproctitle, setproctitle


class Agent(Protocol):
    """A module that a nursery is given: what to import, and what a forked process runs."""

    def preload(self) -> None:
        """Imports everything, once, in the nursery and its private directory; must start no thread."""
        ...

    def standby(self) -> None:
        """Does what can be done before it is known for whom, in a process in standby."""
        ...

    def run(self) -> int:
        """Runs what the environment says, in a forked process; returns the exit code."""
        ...


def preload() -> None:
    """Imports all that a scheduler or worker needs and starts the server that forks workers."""
    from headrace.agent import forkserver, process, warm_up

    # Garbage freed between what stays would be holes that every forked process fills for itself; and what is collected
    # later must not be looked through again by each, for memory that is written to is no longer shared.
    gc.disable()
    warm_up.preload()
    gc.freeze()
    gc.enable()
    os.register_at_fork(after_in_child=_draw_own_randomness)
    title = getproctitle()
    setproctitle(title.replace("nursery", "fork server", 1))
    forkserver.start(Path.cwd())  # the nursery's own
    setproctitle(title)
    assert process.run


def standby() -> None:
    """Builds what a scheduler builds lazily."""
    from headrace.agent import warm_up

    warm_up.standby()


def run() -> int:
    """Runs a scheduler, or a worker with its nanny, to its end."""
    import dask.config

    from headrace.agent.identity import Identity
    from headrace.agent.process import run as run_process

    dask.config.set({"temporary-directory": str(Path.cwd())})
    return run_process(Identity.from_environment(os.environ))


def _draw_own_randomness() -> None:
    """What is drawn once in a process must not be the same in all that are forked from it."""
    multiprocessing.current_process().authkey = os.urandom(32)
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed()
