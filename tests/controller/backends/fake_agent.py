"""A module of the agent's shape that needs no controller: what a forked process does is told by its environment."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

preloaded_in = 0
stood_by_in = 0


def preload() -> None:
    global preloaded_in
    preloaded_in = os.getpid()


def standby() -> None:
    global stood_by_in
    stood_by_in = os.getpid()


def run() -> int:
    print(f"runs {os.environ['HEADRACE_PROCESS']} at {time.time()}")
    print(f"forked={preloaded_in not in {0, os.getpid()}} standby={stood_by_in == os.getpid()} in={Path.cwd()}")
    print(f"variables={sorted(v for v in os.environ if v.startswith(('SECRET', 'ASKED', 'HEADRACE_')))}")
    print(f"descriptors={sorted(os.readlink(f'/proc/self/fd/{fd}') for fd in _open_files())}")
    sys.stdout.flush()
    if "ASKED_CODE" in os.environ:
        return int(os.environ["ASKED_CODE"])
    while True:
        signal.pause()


def _open_files() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
