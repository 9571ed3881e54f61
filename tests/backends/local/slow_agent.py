"""The fake agent, as one that takes time to preload: schedulers can be forked long before its end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import fake_agent
from fake_agent import repair, run, standby, start_helpers


def preload() -> Iterator[bool]:
    for _ in range(50):
        time.sleep(0.01)
        yield True
    yield from fake_agent.preload()


__all__ = ["preload", "repair", "run", "standby", "start_helpers"]
