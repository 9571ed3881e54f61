"""ReadLogs: tails, following until the end, also after it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest
from tests.conftest import Eventually
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Site
from tests.controller.user import User

from headrace.errors import ClusterNotFound, TooManyRequests, WorkerNotFound
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.api import log_reading
from headrace_controller.api.log_reading import split
from headrace_controller.backends.base import LogPiece


async def read(user: User, name: str, into: dict[str, bytes] | None = None, /, **request: Any) -> dict[str, bytes]:
    logs = {} if into is None else into
    async with asyncio.timeout(60):
        async for piece in user.stream("ReadLogs", pb.ReadLogsRequest(name=name, **request)):
            logs[piece.process] = logs.get(piece.process, b"") + piece.lines
    return logs


async def test_of_one_or_all_processes_whole_or_their_tail(ann: User, site: Site) -> None:
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=1)])
    await ann.until(made.name, "RUNNING", running=1)
    cluster = made.name.removeprefix("clusters/")
    [worker] = [name for name in site.machine.running(cluster) if name != "scheduler"]
    for n in range(3):
        site.machine.write_log(cluster, "scheduler", b"s%d\n" % n)
        site.machine.write_log(cluster, worker, b"w%d\n" % n)
    assert await read(ann, made.name) == {"scheduler": b"s0\ns1\ns2\n", worker: b"w0\nw1\nw2\n"}
    assert await read(ann, made.name, process=worker) == {worker: b"w0\nw1\nw2\n"}
    assert await read(ann, made.name, process="scheduler", tail_lines=1) == {"scheduler": b"s2\n"}


async def test_following_ends_with_the_cluster_and_has_its_last_words(
    ann: User, site: Site, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reading, "_LAST_LINES_SECONDS", 60)  # the last lines come, however slow this machine is
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    cluster = made.name.removeprefix("clusters/")
    site.machine.write_log(cluster, "scheduler", b"first\n")
    logs: dict[str, bytes] = {}
    following = asyncio.create_task(read(ann, made.name, logs, follow=True))
    await eventually(lambda: logs)  # what is not followed yet when its cluster ends is only read
    site.machine.write_log(cluster, "scheduler", b"second\n")
    await ann.stop(made.name)
    await ann.until(made.name, "STOPPED")
    monkeypatch.undo()
    site.machine.write_log(cluster, "scheduler", b"last\n")
    assert await following == {"scheduler": b"first\nsecond\nlast\n"}
    assert await read(ann, made.name, follow=True) == {"scheduler": b"first\nsecond\nlast\n"}


async def test_long_logs_come_in_pieces(ann: User, site: Site) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    site.machine.write_log(made.name.removeprefix("clusters/"), "scheduler", b"x" * 200_000 + b"\n")
    pieces = [piece async for piece in ann.stream("ReadLogs", pb.ReadLogsRequest(name=made.name))]
    assert max(len(piece.lines) for piece in pieces) == 65536


async def test_reading_goes_on_behind_what_was_read(ann: User, site: Site) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    cluster = made.name.removeprefix("clusters/")
    site.machine.write_log(cluster, "scheduler", b"first\nsecond\n")
    tokens: dict[str, str] = {}
    async for piece in ann.stream("ReadLogs", pb.ReadLogsRequest(name=made.name)):
        tokens[piece.process] = piece.resume_token
    site.machine.write_log(cluster, "scheduler", b"third\n")
    assert await read(ann, made.name, tail_lines=1, resume_tokens=tokens) == {"scheduler": b"third\n"}
    assert await read(ann, made.name, tail_lines=1, resume_tokens={"scheduler": "rubbish"}) == {"scheduler": b"third\n"}


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 200_000])
def test_a_long_piece_can_be_resumed_only_behind_its_end(size: int) -> None:
    parts = split(LogPiece("scheduler", b"x" * size, "after"), "before")
    assert b"".join(part.lines for part in parts) == b"x" * size
    assert all(0 < len(part.lines) <= 65536 for part in parts)
    assert [part.resume_token for part in parts] == ["before"] * (len(parts) - 1) + ["after"] * bool(size)


async def test_following_ends_with_the_share_that_allowed_it(ann: User, bob: User) -> None:
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW])
    made = await ann.create(request={"shares": [share]})
    following = asyncio.create_task(fails(ClusterNotFound, read(bob, made.name, follow=True)))
    await asyncio.sleep(0)
    await ann.update(made.name, "shares")
    await following


async def test_a_user_follows_a_bounded_number_of_logs(site: Site, eventually: Eventually) -> None:
    replica = await site.replica(logs_per_user=201)
    ann, bob = await replica.user("ann"), await replica.user("bob")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    site.machine.write_log(made.name.removeprefix("clusters/"), "scheduler", b"x\n")
    everything = pb.ReadLogsRequest(name=made.name, follow=True)
    one = pb.ReadLogsRequest(name=made.name, follow=True, process="scheduler")
    following = [ann.stream("ReadLogs", request) for request in (everything, everything, one)]
    for stream in following:
        assert (await stream.read()).lines == b"x\n"
    for request in (everything, one):
        refused = await fails(TooManyRequests, ann.stream("ReadLogs", request).read())
        assert str(refused) == (
            "users/ann reads 201 logs at once here, and may read 201; all processes of a cluster count as 100. End "
            "some `logs --follow`, or read the log of a single process; repeat it in 1.0 s"
        )
    others = await bob.create()
    await bob.until(others.name, "RUNNING")
    assert await read(bob, others.name) == {}

    following[0].cancel()

    async def has_room() -> bool:
        stream = ann.stream("ReadLogs", everything)
        try:
            return (await stream.read()).lines == b"x\n"
        except grpc.aio.AioRpcError:
            return False
        finally:
            stream.cancel()

    await eventually(has_room)


async def test_an_unknown_process_or_a_negative_tail(ann: User) -> None:
    made = await ann.create()
    await fails(WorkerNotFound, ann.stream("ReadLogs", pb.ReadLogsRequest(name=made.name, process="nope")).read())
    wrong = ann.stream("ReadLogs", pb.ReadLogsRequest(name=made.name, tail_lines=-1)).read()
    assert await wrong_fields(wrong) == {"tail_lines"}
