"""Who connects through a share, and what becomes of the connections when it ends."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from distributed.comm.core import CommClosedError
from tests.client.resumable.conftest import Bed, listening

from headrace._resumable import guests as guests_module
from headrace._resumable.guests import Guests

ANN, BOB, LAB = "users/ann", "users/bob", "groups/lab"


async def talks(comm: Any) -> bool:
    try:
        await comm.write("hello")
        return await comm.read() == "hello"
    except (CommClosedError, OSError):
        return False


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize("grace", [60, 0])
async def test_what_a_guest_has_open_ends_with_the_share(resumable: bool, grace: float) -> None:
    async with listening(grace=grace) as bed:
        owner = await bed.connect("ann", resumable=resumable and grace > 0, units=[ANN])
        guest = await bed.connect("bob", resumable=resumable and grace > 0, units=[BOB, LAB])
        worker = await bed.connect("default-0-abcdef", resumable=False)
        bed.table.guests.set({ANN: math.inf, LAB: math.inf})
        assert await talks(guest)  # through the group
        bed.table.guests.set({ANN: math.inf})
        assert not await talks(guest)
        assert bed.refused == (resumable and grace > 0)
        assert await talks(owner)
        assert await talks(worker)


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_certificate_that_is_valid_yet_opens_nothing_more(
    bed: Bed, resumable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests_module, "_HEAR_SECONDS", 0.1)
    address = bed.listener.listen_address
    assert address is not None
    bed.proxy.port = int(address.rpartition(":")[2])  # the proxy would swallow a reset
    bed.table.guests.set({ANN: math.inf})
    with pytest.raises(OSError, match="no longer shared with you" if resumable else r"in <.*>|closed|timed out"):
        await bed.connect("bob", resumable=resumable, units=[BOB])
    assert bed.refused == resumable
    bed.table.guests.set({ANN: math.inf, BOB: math.inf})
    assert await talks(await bed.connect("bob", resumable=resumable, units=[BOB]))


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_guest_may_be_faster_than_the_news_of_the_share(
    bed: Bed, resumable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests_module, "_HEAR_SECONDS", 60.0)
    bed.table.guests.set({ANN: math.inf})
    connecting = asyncio.create_task(bed.connect("bob", resumable=resumable, units=[BOB]))
    await asyncio.sleep(0.2)
    assert not connecting.done()
    bed.table.guests.set({ANN: math.inf, LAB: math.inf})
    bed.table.guests.set({ANN: math.inf, BOB: math.inf})
    assert await talks(await connecting)
    assert not bed.refused


async def test_a_session_goes_on_with_a_certificate_through_somebody_else(bed: Bed) -> None:
    bed.table.guests.set({BOB: math.inf, LAB: math.inf})
    comm = await bed.connect("bob", units=[BOB])
    assert await talks(comm)
    assert len(bed.table) == 1


def test_a_share_ends_at_its_time() -> None:
    now = [100.0]
    guests, ended = Guests(lambda: now[0]), list[object]()

    class Connection:
        pass

    connection = Connection()
    guests.set({BOB: 110.0})
    guests.enter(connection, frozenset({BOB}), ended.append)
    now[0] = 109.0
    guests.check()
    assert guests.admits(frozenset({BOB}))
    assert not ended
    now[0] = 110.0
    guests.check()
    assert ended == [connection]
    assert not guests.admits(frozenset({BOB}))


def test_processes_of_the_cluster_are_no_guests() -> None:
    guests = Guests()
    assert guests.admits(frozenset({BOB}))  # nobody has said anything yet
    guests.set({})
    assert guests.admits(frozenset())
    assert not guests.admits(frozenset({BOB}))
