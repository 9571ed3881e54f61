"""The fake agent, as one that preloads until a test lets it end: schedulers can be forked long before that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import fake_agent
from fake_agent import repair, run, standby, start_helpers


def preload() -> Iterator[bool]:
    while not Path("preload").exists():  # in the zygote's directory
        time.sleep(0.01)
        yield True
    yield from fake_agent.preload()


__all__ = ["preload", "repair", "run", "standby", "start_helpers"]
