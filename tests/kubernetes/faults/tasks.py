"""Tasks to compute. They are nested functions so that they travel by value: pods do not have the tests."""

from __future__ import annotations

from collections.abc import Callable


def _make() -> tuple[Callable[[int], int], Callable[[int], int], Callable[[int], int], Callable[[int], None]]:
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

    def hold(size: int) -> None:
        from threading import Event

        held = bytearray(b"x") * size
        Event().wait()
        del held

    return counted, gated, fill, hold


counted, gated, fill, hold = _make()
