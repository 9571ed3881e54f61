"""What the zygote does where the machine has no room for another process or another descriptor."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.backends.local import fake_agent

from headrace_backend_local.protocol import LaunchSpec
from headrace_backend_local.zygote import warm_pool
from headrace_backend_local.zygote.forks import fork
from headrace_backend_local.zygote.launch_files import LaunchFiles
from headrace_backend_local.zygote.loop import Loop
from headrace_backend_local.zygote.spawn import spawn
from headrace_backend_local.zygote.warm_pool import WarmPool
from headrace_controller.backends.process import Role

SPEC = LaunchSpec(
    cluster="c1", process="w-1", role=Role.WORKER, generation=1, tag="", title="", warm=False, directory="", log=""
)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def fail(number: int) -> Callable[..., int]:
    def failing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return failing


def test_a_process_that_cannot_be_watched_does_not_run(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    forked: list[int] = []
    really = os.fork

    def noted() -> int:
        forked.append(really())
        return forked[-1]

    def run() -> int:
        while True:
            signal.pause()

    monkeypatch.setattr(os, "fork", noted)
    monkeypatch.setattr(os, "pidfd_open", fail(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        fork(loop, run, 0)
    try:
        with pytest.raises(ChildProcessError):
            os.waitpid(forked[0], os.WNOHANG)
    finally:
        with suppress(ProcessLookupError):
            os.kill(forked[0], signal.SIGKILL)


def test_a_start_without_room_for_a_process_leaves_no_descriptor(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", fail(errno.EAGAIN))
    before = descriptors()
    with pytest.raises(BlockingIOError):
        spawn(loop, SPEC, LaunchFiles(0, 1, 2), 0)
    assert descriptors() == before


def test_a_standby_for_which_there_was_no_room_is_made_later(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    really, tries = os.fork, 0
    forked: list[int] = []

    def fork_later() -> int:
        nonlocal tries
        tries += 1
        forked.append(really() if tries > 1 else fail(errno.EAGAIN)())
        return forked[-1]

    monkeypatch.setattr(os, "fork", fork_later)
    monkeypatch.setattr(warm_pool, "_AFTER_DEATH_SECONDS", 0)
    pool = WarmPool(
        loop, fake_agent, "dask standby of a test", is_quiet=lambda: True, on_warm=lambda: None, share_helpers=True
    )
    pool.resize(1, 0)
    left = iter(range(1000))

    def until_made() -> None:
        loop.call_later(0.01, loop.stop if forked or next(left, None) is None else until_made)

    until_made()
    loop.run()
    pool.close()
    [standby] = forked
    os.waitpid(standby, 0)
