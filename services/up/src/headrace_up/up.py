"""`headrace up`: runs the system in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from headrace_up.claim import claimed
from headrace_up.console import Console
from headrace_up.failure import CannotRun
from headrace_up.layout import make_layout
from headrace_up.options import UpOptions
from headrace_up.services import service_specs
from headrace_up.supervisor import GaveUp
from headrace_up.system import MakeSpecs, System

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILLED_EXIT_CODE = 130


def up(options: UpOptions, version: str, make_specs: MakeSpecs = service_specs) -> int:
    """Runs until Ctrl-C or SIGTERM; returns the exit code."""
    console = Console(quiet=options.quiet)
    try:
        _check(options)
        layout = make_layout(options.data)
        with claimed(layout, version) as after_crash:
            console.say(f"headrace {version}, data in {layout.data}")
            asyncio.run(_run(System(options, layout, console, version, make_specs), console, after_crash=after_crash))
    except (CannotRun, GaveUp) as error:
        print(f"headrace up: {error}", file=sys.stderr)
        return 1
    return 0


def _check(options: UpOptions) -> None:
    if options.users_file and not options.users_file.is_file():
        raise CannotRun(f"there is no users file {options.users_file}; give its path with --users-file")


async def _run(system: System, console: Console, *, after_crash: bool) -> None:
    told = asyncio.Event()
    with _signals(told, system.kill):
        running = asyncio.create_task(system.run(after_crash=after_crash))
        stopped = asyncio.create_task(told.wait())
        try:
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if told.is_set():
                console.say("\nStopping; Ctrl-C again kills at once.")
        finally:
            running.cancel()
            stopped.cancel()
            ends = await asyncio.gather(running, return_exceptions=True)
            await system.stop()
        for end in ends:
            if isinstance(end, Exception):
                raise end
    console.say("Stopped.")


@contextmanager
def _signals(told: asyncio.Event, kill: Callable[[], None]) -> Generator[None]:
    """The first signal asks to stop; the second one kills."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if told.is_set():
            kill()
            os._exit(KILLED_EXIT_CODE)
        told.set()

    # nohup has SIGHUP ignored, and means it.
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP]
    for number in heard:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
