"""A module of the agent's shape that needs no controller: its environment says what a forked process does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

preloaded_in = 0
stood_by_in = 0
complete = False


def preload() -> Iterator[bool]:
    global preloaded_in, complete  # noqa: PLW0603 what forks inherit is what is tested
    preloaded_in = os.getpid()
    yield False
    complete = True


def start_helpers(private: Sequence[int]) -> None: ...


def repair() -> bool:
    return False


def standby() -> None:
    global stood_by_in  # noqa: PLW0603 as above
    stood_by_in = os.getpid()


def run() -> int:  # noqa: C901 one behaviour after the other
    say("pid", os.getpid())
    say("forked", preloaded_in not in {0, os.getpid()})
    say("complete", complete)
    say("from standby", stood_by_in == os.getpid())
    say("directory", Path.cwd())
    say("variables", sorted(v for v in os.environ if v.startswith(("SECRET", "ASKED", "HEADRACE_"))))
    say("niceness", os.nice(0))
    say("files", sorted(open_files()))
    behaviour = os.environ.get("ASKED_FOR", "")
    if behaviour == "failure":
        raise RuntimeError("as asked")
    if behaviour.startswith("code "):
        return int(behaviour.removeprefix("code "))
    if behaviour == "deafness":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour.startswith("running "):
        exec(behaviour.removeprefix("running "), {})
    if behaviour.startswith("finding "):
        say("found", finds(re.compile(behaviour.removeprefix("finding ").encode())))
    if behaviour == "orphan":
        subprocess.Popen(["env", "-i", "sh", "-c", "echo orphan: $$; exec sleep 1000"], start_new_session=True)
    if behaviour == "work":
        work(0.05)
    say("up", "yes")
    while True:
        signal.pause()


def say(what: str, value: object) -> None:
    print(f"{what}: {value}", flush=True)


def work(seconds: float) -> None:
    say("began", time.monotonic())
    while time.process_time() < seconds:
        pass
    say("ended", time.monotonic())


def finds(pattern: re.Pattern[bytes]) -> bool:
    """Whether something is in the memory of this process."""
    with Path("/proc/self/maps").open() as maps, Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in maps:
            extent, mode, *_ = line.split()
            start, end = (int(n, 16) for n in extent.split("-"))
            if mode.startswith("rw"):
                memory.seek(start)
                if pattern.search(memory.read(end - start)):
                    return True
    return False


def open_files() -> list[str]:
    files: list[str] = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 the directory's own descriptor is among them
        try:
            files.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 sockets and pipes are no paths
        except FileNotFoundError:
            continue
    return files
