"""Tasks to compute. They are nested functions so that they travel by value: the cluster does not have the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, cast

from distributed import Client


def _make() -> tuple[Callable[[int], int], Callable[[], None], Callable[[str], None]]:
    def slow(x: int) -> int:
        time.sleep(0.05)
        return x

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wait_for_file(path: str) -> None:
        while not os.path.exists(path):  # noqa: PTH110 needs no import where it runs
            time.sleep(0.01)

    return slow, die, wait_for_file


slow, die, wait_for_file = _make()


def gathered(client: Client, futures: list[Any]) -> list[int]:
    """Waits for results."""
    return cast("list[int]", client.gather(futures))
