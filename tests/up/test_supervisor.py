from __future__ import annotations

import asyncio
import io
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import pytest

from headrace_chassis import procfs
from headrace_up.child import Child, NotReady
from headrace_up.console import Console
from headrace_up.errors import GaveUp
from headrace_up.layout import Layout
from headrace_up.process import Part, command
from headrace_up.supervisor import Supervisor

MakeFake = Callable[..., Part]


class Eventually(Protocol):
    async def __call__(self, predicate: Callable[[], object], within: float = 30.0) -> None: ...


class Watched:
    """A supervisor with what it printed."""

    def __init__(self, layout: Layout) -> None:
        self.out = io.StringIO()
        self.layout = layout
        # Its clock stands still: no part has run for long, however long this machine takes.
        self.supervisor = Supervisor(layout, Console(out=self.out), clock=lambda: 0.0, longest_pause=0.1)

    async def start(self, *parts: Part) -> None:
        self.supervisor.start(parts)
        await self.supervisor.ready()

    @property
    def output(self) -> str:
        return self.out.getvalue()

    def pid(self, name: str) -> int | None:
        return self.supervisor.children[name].pid


@pytest.fixture
async def watched(layout: Layout) -> AsyncGenerator[Watched]:
    one = Watched(layout)
    yield one
    await one.supervisor.stop(list(one.supervisor.children), within=1)


async def test_children_start_side_by_side_and_say_when_they_are_ready(watched: Watched, fake_part: MakeFake):
    await watched.start(fake_part("auth"), fake_part("proxy"))
    assert re.search(r"auth +ready after +\d\.\d\d s", watched.output)
    assert watched.pid("auth")
    assert watched.pid("proxy")


async def test_a_killed_child_is_started_again(watched: Watched, fake_part: MakeFake, eventually: Eventually):
    await watched.start(fake_part("auth"))
    before = watched.pid("auth")
    assert before
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: "auth is back" in watched.output)
    assert watched.pid("auth") not in {None, before}
    assert "auth was killed by SIGKILL; starting it again" in watched.output


async def test_it_gives_up_on_a_child_that_keeps_dying_and_shows_the_end_of_its_log(
    watched: Watched, fake_part: MakeFake
):
    with pytest.raises(GaveUp, match=r"(?s)auth ended with exit code 1, 5 times in a row.*the settings are wrong"):
        await watched.start(fake_part("auth", "dies"), fake_part("proxy"))


async def test_a_child_that_refuses_its_settings_is_started_once_and_its_reason_told_once(
    watched: Watched, fake_part: MakeFake
):
    with pytest.raises(GaveUp, match=r"auth refuses its settings") as caught:
        await watched.start(fake_part("auth", "refuses"))
    assert str(caught.value).count("idle_timeout_seconds: too short") == 1
    assert "starting it again" not in watched.output


async def test_it_never_gives_up_a_child_that_was_ready_once(
    watched: Watched, fake_part: MakeFake, eventually: Eventually
):
    await watched.start(fake_part("auth", "dies-later"))
    await eventually(lambda: "auth ended with exit code 3, 8 times in a row; clusters compute on" in watched.output)
    assert "behaving as dies-later" in watched.output, "the end of its log"
    assert watched.output.count("exit code 3") == 4, "of the failures 1, 2, 4 and 8"


async def test_a_child_that_cannot_be_started_for_a_while_is_back_afterwards(
    watched: Watched, fake_part: MakeFake, eventually: Eventually
):
    await watched.start(fake_part("auth"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        os.kill(watched.pid("auth") or 0, signal.SIGKILL)
        await eventually(lambda: "auth cannot be started ([Errno 24] Too many open files)" in watched.output)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await eventually(lambda: "auth is back" in watched.output)


async def test_a_probe_that_fails_counts_as_a_failure_of_its_child(watched: Watched, fake_part: MakeFake):
    tries = 0

    async def probe() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ValueError("a bad day")

    await watched.start(replace(fake_part("auth"), probe=probe), fake_part("proxy"))
    assert "auth failed (ValueError: a bad day); starting it again" in watched.output


async def test_a_part_that_was_not_ready_is_repaired(watched: Watched, fake_part: MakeFake):
    broken = watched.layout.data / "broken"
    broken.touch()

    def main() -> None:
        if broken.exists():
            sys.exit("it is broken")
        fake_part("auth").main()

    def repair() -> None:
        broken.unlink()
        print("mended it")

    await watched.start(replace(fake_part("auth"), main=main, repair=repair))
    assert "mended it" in watched.output


async def test_a_directory_of_logs_that_cannot_be_used_stops_no_part(
    watched: Watched, fake_part: MakeFake, eventually: Eventually
):
    await watched.start(fake_part("auth"))
    shutil.rmtree(watched.layout.logs)
    watched.layout.logs.write_text("")
    os.kill(watched.pid("auth") or 0, signal.SIGKILL)
    await eventually(lambda: "auth is back" in watched.output)


async def test_a_command_that_does_not_exist_is_explained(watched: Watched):
    with pytest.raises(GaveUp, match=r"(?s)exit code 127.*/does/not/exist cannot be executed: No such file"):
        await watched.start(Part(name="auth", main=command(["/does/not/exist"])))


async def test_a_child_that_ignores_sigterm_is_killed_in_time(watched: Watched, fake_part: MakeFake):
    await watched.start(fake_part("auth", "stubborn"))
    await watched.supervisor.stop(["auth"], within=0.2)
    assert watched.pid("auth") is None


async def test_a_stopped_child_is_not_started_again(watched: Watched, fake_part: MakeFake):
    await watched.start(fake_part("auth"))
    await watched.supervisor.stop(["auth"], within=2)
    assert watched.pid("auth") is None
    assert "again" not in watched.output


async def test_a_child_that_is_never_ready_counts_as_dead(layout: Layout):
    part = Part(name="auth", main=signal.pause, ready_seconds=0.1)
    child = Child(part, layout.logs / "auth.log", layout.data)
    child.start()
    with pytest.raises(NotReady, match=r"was not ready within 0\.1 s"):
        await child.ready()
    await child.stop(within=1)


async def test_stopping_while_children_start_leaves_none(layout: Layout, fake_part: MakeFake):
    watched = Watched(layout)
    starting: Awaitable[None] = asyncio.ensure_future(watched.start(fake_part("auth"), fake_part("proxy")))
    await asyncio.sleep(0)
    await watched.supervisor.stop(["auth", "proxy"], within=1)
    assert watched.pid("auth") is None
    assert watched.pid("proxy") is None
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_part_that_ends_by_itself_is_run_once(watched: Watched):
    part = Part(name="once", main=lambda: print("done"))
    assert await watched.supervisor.run_once(part, within=60) == 0
    assert watched.supervisor.log(part).read_text() == "done\n"
    assert await watched.supervisor.run_once(Part(name="bad", main=lambda: sys.exit("no")), within=60) == 1


async def test_a_part_that_does_not_end_by_itself_is_killed(watched: Watched):
    part = Part(name="once", main=signal.pause)
    assert await watched.supervisor.run_once(part, within=0.1) == -signal.SIGKILL


@pytest.fixture
def make_replaceable(fake_part: MakeFake) -> Callable[..., Part]:
    """Makes a part whose successors behave in some way, and are ready once `probe` is."""

    def make(behaviour: str = "ready", probe: Callable[[], Awaitable[None]] = _at_once) -> Part:
        def successor(number: int) -> Part:
            return replace(fake_part("envoy", behaviour), probe=probe)

        return replace(fake_part("envoy"), successor=successor)

    return make


async def _at_once() -> None: ...


async def _never() -> None:
    await asyncio.Event().wait()


async def test_a_part_is_replaced_while_it_runs(watched: Watched, make_replaceable: Callable[..., Part]):
    await watched.start(make_replaceable())
    pids = [watched.pid("envoy")]
    for _ in range(2):
        await watched.supervisor.replace("envoy")
        pids.append(watched.pid("envoy"))
    assert len({*pids, None}) == 4
    assert all(_runs(pid) for pid in pids), "each ends when it is told to"
    assert watched.output.count("envoy was replaced within") == 2
    await watched.supervisor.stop(["envoy"], within=2)
    assert not any(_runs(pid) for pid in pids)


async def test_the_end_of_a_replaced_process_is_no_failure_and_that_of_its_successor_is(
    watched: Watched, make_replaceable: Callable[..., Part], eventually: Eventually
):
    await watched.start(make_replaceable())
    first = watched.pid("envoy")
    await watched.supervisor.replace("envoy")
    os.kill(first or 0, signal.SIGTERM)
    await eventually(lambda: not _runs(first))
    second = watched.pid("envoy")
    await watched.supervisor.replace("envoy")
    assert "again" not in watched.output
    os.kill(watched.pid("envoy") or 0, signal.SIGKILL)
    await eventually(lambda: "envoy is back" in watched.output)
    await eventually(lambda: not _runs(second))
    await watched.supervisor.replace("envoy")
    assert watched.output.count("envoy was replaced within") == 3


async def test_a_part_whose_successor_dies_runs_on(watched: Watched, make_replaceable: Callable[..., Part]):
    await watched.start(make_replaceable("dies", _never))
    before = watched.pid("envoy")
    await watched.supervisor.replace("envoy")
    assert watched.pid("envoy") == before
    assert "envoy runs on as it is: its successor ended with exit code 1" in watched.output
    assert "the settings are wrong" in watched.output


async def test_a_successor_of_a_part_that_dies_meanwhile_is_not_kept(
    watched: Watched, make_replaceable: Callable[..., Part], eventually: Eventually
):
    ready = asyncio.Event()

    async def probe() -> None:
        await ready.wait()

    await watched.start(make_replaceable(probe=probe))
    replacing = asyncio.create_task(watched.supervisor.replace("envoy"))
    os.kill(watched.pid("envoy") or 0, signal.SIGKILL)
    await eventually(lambda: "envoy is back" in watched.output)
    ready.set()
    await replacing
    assert "envoy runs on as it is: its successor came too late" in watched.output


async def test_a_part_without_a_successor_says_so(watched: Watched, fake_part: MakeFake):
    await watched.start(fake_part("auth"))
    await watched.supervisor.replace("auth")
    assert "auth runs on as it is: its successor cannot take over here" in watched.output


def _runs(pid: int | None) -> bool:
    process = procfs.process(pid or 0)
    return process is not None and process.alive
