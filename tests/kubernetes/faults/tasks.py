"""Tasks to compute. They are nested functions so that they travel by value: pods do not have the tests."""

from __future__ import annotations

from collections.abc import Callable

Task = Callable[[int], int]


def _make() -> tuple[Task, Task, Task, Task, Callable[[int], None]]:
    def counted(number: int) -> int:
        from distributed import get_worker

        get_worker().log_event("runs", number)
        return number

    def gated(number: int) -> int:
        from distributed import Event, get_worker

        get_worker().log_event("begun", number)
        Event("gate").wait()
        return number

    def fill(size: int) -> int:
        return len(bytearray(b"x") * size)

    def write(size: int) -> int:
        from pathlib import Path

        return Path("/tmp/written").write_bytes(b"x" * size)

    def hold(size: int) -> None:
        from threading import Event

        held = bytearray(b"x") * size
        Event().wait()
        del held

    return counted, gated, fill, write, hold


counted, gated, fill, write, hold = _make()
