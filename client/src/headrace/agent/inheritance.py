"""What a worker process from the fork server inherits from its nanny.

The process was forked from the fork server and starts with that one's output, environment, process group, priority and
limits. An object in what the nanny sends it replaces all of these when it is unpickled, before any of Dask runs there.
"""

from __future__ import annotations

import contextlib
import os
import resource
from multiprocessing import reduction
from typing import Protocol


class _Descriptor(Protocol):
    def detach(self) -> int: ...


# How many files may be open, of which each connection is one. And a limit that Linux does not enforce, by which the
# local backend finds all that a process has started.
_LIMITS = resource.RLIMIT_NOFILE, resource.RLIMIT_RSS


class Inheritance:
    """Pickled in the nanny, it makes the worker process that unpickles it inherit from that nanny."""

    def __reduce__(self) -> tuple[object, ...]:
        output = [reduction.DupFd(descriptor) for descriptor in (1, 2)]
        limits = {limit: resource.getrlimit(limit) for limit in _LIMITS}
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        return inherit, (os.getpgrp(), niceness, output, dict(os.environ), limits)


def inherit(
    group: int,
    niceness: int,
    output: list[_Descriptor],
    environment: dict[str, str],
    limits: dict[int, tuple[int, int]],
) -> bool:
    """Joins the process group, so that both are killed together, and replaces priority, limits, output, environment."""
    # If the nanny has just ended, so has its group; this process then ends by itself.
    with contextlib.suppress(OSError):
        os.setpgid(0, group)
    with contextlib.suppress(PermissionError):  # a priority cannot be raised
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    for limit, values in limits.items():
        with contextlib.suppress(ValueError):  # one that has been lowered for good cannot be raised
            resource.setrlimit(limit, values)
    for number, descriptor in zip((1, 2), output, strict=True):
        duplicate = descriptor.detach()
        os.dup2(duplicate, number)
        os.close(duplicate)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    return True
