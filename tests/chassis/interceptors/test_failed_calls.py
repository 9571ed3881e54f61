"""Log lines of failed calls: enough to see what happens, not enough to push others out of the log."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any, cast

import grpc
import pytest
from tests.chassis.running import Running
from tests.conftest import Eventually

from headrace.v1 import auth_service_pb2
from headrace_chassis.identity.caller import Caller, set_caller
from headrace_chassis.interceptors.failed_calls import FailedCalls


class Log:
    """Keeps lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **facts: Any) -> None:
        self.lines.append((event, facts))


def add(failed: FailedCalls, caller: Caller | None, count: int) -> None:
    """Let calls of one caller fail, in a context of their own as calls are; no period ends meanwhile."""

    def fail() -> None:
        set_caller(caller)
        for _ in range(count):
            failed.add("NOT_FOUND", "there is no such cluster", 0.001)

    copy_context().run(fail)


async def test_the_first_are_written_and_the_others_counted(eventually: Eventually) -> None:
    log = Log()
    failed = FailedCalls(cast("Any", log), first=3, seconds=0.2)
    for caller, count in ((Caller("ann"), 10), (Caller("bob"), 3), (None, 4)):
        add(failed, caller, count)
    written = [facts["caller"] for _, facts in log.lines]
    assert written == ["users/ann"] * 3 + ["users/bob"] * 3 + [""] * 3
    await eventually(lambda: len(log.lines) == len(written) + 2)
    left_out = [(event, facts["caller"], facts["calls"]) for event, facts in log.lines[len(written) :]]
    assert left_out == [("more calls failed", "users/ann", 7), ("more calls failed", "", 1)]
    add(failed, Caller("ann"), 1)
    assert log.lines[-1][1]["caller"] == "users/ann"


async def test_a_flood_of_refused_calls_writes_few_lines(
    running: Running, capsys: pytest.CaptureFixture[str], eventually: Eventually
) -> None:
    request = auth_service_pb2.WhoAmIRequest()
    for _ in range(60):
        with pytest.raises(grpc.aio.AioRpcError):
            await running.auth.WhoAmI(request)
    with pytest.raises(grpc.aio.AioRpcError):
        await running.auth.WhoAmI(request, metadata=running.bearer("eve", roles=("nothing",)))
    written = ""

    def all_written() -> bool:  # a call's line may follow its answer
        nonlocal written
        written += "".join(capsys.readouterr())
        return "caller=users/eve" in written

    await eventually(all_written)
    assert written.count("call failed") == 20 + 1
