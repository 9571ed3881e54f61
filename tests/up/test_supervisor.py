from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

import pytest

from headrace_up import child as child_module
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
        self.supervisor = Supervisor(layout, Console(out=self.out))

    async def start(self, *parts: Part) -> None:
        self.supervisor.start(parts)
        await self.supervisor.ready()

    def pid(self, name: str) -> int | None:
        return self.supervisor.children[name].pid


@pytest.fixture
async def watched(layout: Layout) -> AsyncGenerator[Watched]:
    one = Watched(layout)
    yield one
    await one.supervisor.stop(list(one.supervisor.children), within=1)


async def test_children_start_side_by_side_and_say_when_they_are_ready(watched: Watched, fake_part: MakeFake):
    await watched.start(fake_part("auth"), fake_part("proxy"))
    assert re.search(r"auth +ready after +\d\.\d\d s", watched.out.getvalue())
    assert watched.pid("auth")
    assert watched.pid("proxy")


async def test_a_killed_child_is_started_again(watched: Watched, fake_part: MakeFake, eventually: Eventually):
    await watched.start(fake_part("auth"))
    before = watched.pid("auth")
    assert before
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: "auth is back" in watched.out.getvalue())
    assert watched.pid("auth") not in {None, before}
    assert "auth was killed by SIGKILL; starting it again" in watched.out.getvalue()


async def test_it_gives_up_on_a_child_that_keeps_dying_and_shows_the_end_of_its_log(
    watched: Watched, fake_part: MakeFake
):
    with pytest.raises(GaveUp, match=r"(?s)auth ended with exit code 1, 5 times in a row.*the settings are wrong"):
        await watched.start(fake_part("auth", "dies"), fake_part("proxy"))


async def test_it_gives_up_on_a_child_that_dies_soon_after_each_start(watched: Watched, fake_part: MakeFake):
    await watched.start(fake_part("auth", "dies-later"))
    with pytest.raises(GaveUp, match="exit code 3"):
        await watched.supervisor.watch()


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
    assert "again" not in watched.out.getvalue()


async def test_a_child_that_is_never_ready_counts_as_dead(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_module, "READY_SECONDS", 0.1)
    child = Child(Part(name="auth", main=signal.pause), layout.logs / "auth.log", layout.data)
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
    assert await watched.supervisor.run_once(part, within=20) == 0
    assert watched.supervisor.log(part).read_text() == "done\n"
    assert await watched.supervisor.run_once(Part(name="bad", main=lambda: sys.exit("no")), within=20) == 1


async def test_a_part_that_does_not_end_by_itself_is_killed(watched: Watched):
    part = Part(name="once", main=signal.pause)
    assert await watched.supervisor.run_once(part, within=0.1) == -signal.SIGKILL
