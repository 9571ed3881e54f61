"""What a worker process from the fork server inherits from its nanny.

The process was forked from the fork server and starts with that one's output, environment, process group and priority.
An object in what the nanny sends it replaces all of these when it is unpickled, before any of Dask runs there.
"""

from __future__ import annotations

import contextlib
import os
from multiprocessing import reduction
from typing import Protocol


class _Descriptor(Protocol):
    def detach(self) -> int: ...


class Inheritance:
    """Pickled in the nanny, it makes the worker process that unpickles it inherit from that nanny."""

    def __reduce__(self) -> tuple[object, ...]:
        output = [reduction.DupFd(descriptor) for descriptor in (1, 2)]
        return inherit, (os.getpgrp(), os.getpriority(os.PRIO_PROCESS, 0), output, dict(os.environ))


def inherit(group: int, niceness: int, output: list[_Descriptor], environment: dict[str, str]) -> bool:
    """Joins the process group, so that both are killed together, and replaces priority, output and environment."""
    # If the nanny has just ended, so has its group; this process then ends by itself.
    with contextlib.suppress(OSError):
        os.setpgid(0, group)
    with contextlib.suppress(PermissionError):  # a priority cannot be raised
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    for number, descriptor in zip((1, 2), output, strict=True):
        duplicate = descriptor.detach()
        os.dup2(duplicate, number)
        os.close(duplicate)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    return True
