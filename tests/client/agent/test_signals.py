"""How the first process of a container ends, for which the kernel has no default."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio, os, signal
from headrace.agent import signals

own = os.getpid()
os.getpid = lambda: 1
signals.reset()

async def main():
    waiting = asyncio.create_task(signals.wait_for_end())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    os.kill(own, signal.SIGTERM)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_it_ends_at_once_while_it_does_not_wait_for_signals() -> None:
    """One in standby that was given to a cluster enrols, which may take long while its scheduler starts."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT], timeout=60, check=False)
    assert ended.returncode == 128 + 15
