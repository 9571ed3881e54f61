"""A controller in a process of its own, so that it can be killed; nothing runs on its machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine

from headrace_chassis.server import App, serve
from headrace_controller.app import build_with
from headrace_controller.config import Settings

_ROOT = Path(__file__).parents[2]


@contextmanager
def killable(settings: Settings) -> Generator[subprocess.Popen[bytes]]:
    """Runs a controller until it is killed, at the latest here."""
    command = [sys.executable, "-m", "tests.controller.killable", settings.model_dump_json()]
    process = subprocess.Popen(command, cwd=_ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _build(settings: Settings, stack: AsyncExitStack) -> App:
    return await build_with(settings, stack, FakeBackend(FakeMachine()))


if __name__ == "__main__":
    asyncio.run(serve(Settings.model_validate_json(sys.argv[1]), _build))
