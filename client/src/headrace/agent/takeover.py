"""A worker process from the fork server takes over what it would have inherited from its nanny.

It was forked from another process: its output, environment and process group are that one's at first. An object
travels in what the nanny sends it, and changes all of this when it is unpickled, before any of Dask runs there.
"""

from __future__ import annotations

import contextlib
import os
from multiprocessing import reduction
from typing import Protocol


class _Descriptor(Protocol):
    def detach(self) -> int: ...


class Inheritance:
    """What a worker process takes over from the nanny that pickles this."""

    def __reduce__(self) -> tuple[object, ...]:
        output = [reduction.DupFd(descriptor) for descriptor in (1, 2)]
        return take_over, (os.getpgrp(), output, dict(os.environ))


def take_over(group: int, output: list[_Descriptor], environment: dict[str, str]) -> bool:
    """Joins the group, so that both are ended together, writes where the nanny writes, and has its environment."""
    # The nanny may have just died; then this process ends by itself in a moment.
    with contextlib.suppress(OSError):
        os.setpgid(0, group)
    for number, descriptor in zip((1, 2), output, strict=True):
        duplicate = descriptor.detach()
        os.dup2(duplicate, number)
        os.close(duplicate)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    return True
