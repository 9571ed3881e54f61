"""What a forked child has of its parent, and what it has not."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace_up import log_file
from headrace_up.layout import Layout
from headrace_up.process import Part, command, spawn


async def run(layout: Layout, main: Callable[[], object], **environment: str) -> tuple[int, str]:
    """Run a child to its end; return its exit code and its output."""
    path = layout.logs / "child.log"
    log = log_file.open_log(path)
    code = await spawn(Part(name="child", main=main, environment=environment), layout.data, log).wait()
    os.close(log)
    return code, path.read_text()


def report() -> None:
    """Print what a child finds."""
    facts = {
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        "descriptors": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())[:3],
        "count": len(list(Path("/proc/self/fd").iterdir())),
        "leader": os.getsid(0) == os.getpid(),
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    }
    print(json.dumps(facts))


async def test_a_child_has_its_own_environment_directory_session_and_nothing_open(layout: Layout):
    held = os.open(os.devnull, os.O_RDONLY)
    code, output = await run(layout, report, COLOUR="blue")
    os.close(held)
    assert code == 0
    facts = json.loads(output)
    assert facts["environment"] == {"COLOUR": "blue"}
    assert facts["directory"] == str(layout.data)
    assert (facts["descriptors"], facts["count"]) == ([0, 1, 2], 4), "the fourth one lists them"
    assert facts["leader"]
    assert facts["blocked"] == []
    assert facts["term"]


async def test_proc_shows_the_environment_of_a_child_and_nothing_of_its_parents(layout: Layout):
    code = f"""
import asyncio, os
from pathlib import Path
from headrace_up.process import Part, spawn
show = lambda: print(Path("/proc/self/environ").read_bytes().strip(bytes(1)).decode(), flush=True)
part = Part(name="child", main=show, environment={{"COLOUR": "blue", "LONG": "x" * 100_000, "SHAPE": "round"}})
async def main():
    await spawn(part, Path({str(layout.data)!r}), 1).wait()
asyncio.run(main())
"""
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), env={**os.environ, "A_TOKEN": "canary"}, stdout=subprocess.PIPE
    )
    shown, _ = await done.communicate()
    assert shown.decode() == "COLOUR=blue\0SHAPE=round\n"


async def test_a_program_gets_the_default_for_signals_that_python_ignores(layout: Layout):
    code, output = await run(layout, command(["/bin/grep", "SigIgn", "/proc/self/status"]))
    assert code == 0
    assert not int(output.split()[1], 16) & 1 << (signal.SIGPIPE - 1)


@pytest.mark.parametrize(("end", "expected"), [(None, 0), (3, 3), ("why", 1)])
async def test_the_exit_code_is_that_of_sys_exit(layout: Layout, end: int | str | None, expected: int):
    assert (await run(layout, lambda: sys.exit(end)))[0] == expected


async def test_an_error_is_in_the_log_and_never_returns_into_the_parent(layout: Layout):
    def fail() -> None:
        raise ValueError("a bad day")

    code, output = await run(layout, fail)
    assert code == 1
    assert "ValueError: a bad day" in output


def test_a_child_ends_with_its_parent_however_that_ends(layout: Layout):
    code = f"""
import asyncio, os, signal
from pathlib import Path
from headrace_up.process import Part, spawn
async def main():
    child = spawn(Part(name="child", main=signal.pause), Path({str(layout.data)!r}), 1)
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ends(int(done.stdout), within=60)


def ends(pid: int, within: float) -> bool:
    """Wait for the end of a process that need not be a child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return select.select([descriptor], [], [], within)[0] != []
    finally:
        os.close(descriptor)
