"""Tasks to compute. They are nested functions so that they travel by value: the cluster does not have the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, cast

from distributed import Client


def _make() -> tuple[Callable[[int], int], Callable[[], None]]:
    def slow(x: int) -> int:
        time.sleep(0.05)
        return x

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    return slow, die


slow, die = _make()


def gathered(client: Client, futures: list[Any]) -> list[int]:
    """Waits for results."""
    return cast("list[int]", client.gather(futures))
