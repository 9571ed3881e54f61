"""`headrace top`: tables that follow the clusters, for their owner and for admins."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import dask.config
import pytest
from tests.client.cli.conftest import TOKEN, Cli
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace
from textual.pilot import Pilot
from textual.widgets import Input

from headrace import TokenAuth, errors
from headrace._target.target import Target
from headrace._wire.connection import Connection
from headrace.cli.top import rows
from headrace.cli.top.screen import Top
from headrace.cli.top.table import MOST_ROWS
from headrace.v1 import cluster_pb2
from headrace.v1.cluster_service_pb2 import WatchClustersRequest
from headrace.v1.culling_service_pb2 import KeepClusterRequest


@pytest.fixture(autouse=True)
def _refreshed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.cli.top.screen.REFRESH_SECONDS", 0.1)


def add(
    headrace: FakeHeadrace,
    number: int,
    owner: str = "ann",
    phase: cluster_pb2.Phase.ValueType = cluster_pb2.PHASE_RUNNING,
    **spec: Any,
) -> FakeCluster:
    """Adds a cluster with `number` workers of two cores each."""
    group = cluster_pb2.WorkerGroup(name="default", size=number)
    made = FakeCluster(
        f"c{number:019}".translate(str.maketrans("0189", "abcd")),
        f"users/{owner}",
        cluster_pb2.ClusterSpec(worker_groups=[group], **spec),
    )
    headrace.clusters = {**headrace.clusters, made.id: made}  # its threads read the one of before meanwhile
    made.record.status.promised.CopyFrom(cluster_pb2.Resources(cores=2 * number, memory_bytes=number << 30))
    headrace.set_phase(made, phase)
    return made


@asynccontextmanager
async def connected(headrace: FakeHeadrace) -> AsyncGenerator[Connection]:
    connection = Connection(
        Target.resolve(address=headrace.address, ca_file=str(headrace.ca_file), auth=TokenAuth(TOKEN))
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def running(headrace: FakeHeadrace, owner: str = "", size: tuple[int, int] = (170, 20)) -> AsyncGenerator[Any]:
    async with connected(headrace) as connection:
        top = Top(connection, owner)
        async with top.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: top.following.complete)
            yield pilot


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Waits while the application works."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(screen(pilot))
        await pilot.pause(0.02)


async def type_in(pilot: Pilot[Any], key: str, *keys: str) -> None:
    """Presses the first key, and the others once it has opened an input."""
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))
    await pilot.press(*keys)


async def stop_selected(pilot: Pilot[Any], answer: str) -> None:
    """Answers the question whether the cluster shall be stopped."""
    await pilot.press("s")
    await until(pilot, lambda: "Stop cluster" in screen(pilot))
    await pilot.press(answer)


def screen(pilot: Pilot[Any]) -> str:
    """What is on the screen, as text."""
    lines = pilot.app.screen._compositor.render_strips()  # pyright: ignore[reportPrivateUsage]
    return "\n".join("".join(segment.text for segment in line) for line in lines)


def shown(pilot: Pilot[Any], column: str = "OWNER") -> list[str]:
    """One column of the table that is shown."""
    table = cast("Top", pilot.app).table
    place = [str(one.key.value) for one in table.ordered_columns].index(column)
    return [table.get_row_at(row)[place].plain for row in range(table.row_count)]


async def test_clusters_come_change_and_go(headrace: FakeHeadrace) -> None:
    first = add(headrace, 2, alias="first")
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot, "NAME") == ["first"])
        assert shown(pilot, "CORES") == ["4"]
        add(headrace, 3, alias="second")
        await until(pilot, lambda: shown(pilot, "NAME") == ["second", "first"])
        headrace.set_phase(first, cluster_pb2.PHASE_STOPPED)
        await until(pilot, lambda: shown(pilot, "NAME") == ["second"])
        await until(pilot, lambda: "1 cluster: 3 workers, 6 cores, 3 GiB" in screen(pilot))


async def test_nobody_but_an_admin_sees_the_clusters_of_others(headrace: FakeHeadrace) -> None:
    add(headrace, 1)
    add(headrace, 2, "bob")
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot) == ["ann"])
    headrace.admins.add("users/ann")
    async with running(headrace, "-") as pilot:
        await until(pilot, lambda: shown(pilot) == ["bob", "ann"])


async def test_what_the_server_refuses_ends_it(headrace: FakeHeadrace) -> None:
    async with connected(headrace) as connection:
        assert isinstance(await Top(connection, "-").run_async(headless=True), errors.PermissionDenied)


async def test_rows_are_sorted_and_filtered_by_keys(headrace: FakeHeadrace) -> None:
    add(headrace, 1, alias="red")
    add(headrace, 2, alias="blue")
    add(headrace, 3, alias="dark-blue")
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot, "NAME") == ["dark-blue", "blue", "red"])
        await pilot.press("r")
        await until(pilot, lambda: shown(pilot, "NAME") == ["red", "blue", "dark-blue"])
        await type_in(pilot, "slash", *"BLUE", "enter")
        await until(pilot, lambda: shown(pilot, "NAME") == ["blue", "dark-blue"])
        await type_in(pilot, "slash", "escape")
        await until(pilot, lambda: shown(pilot, "NAME") == ["red", "blue", "dark-blue"])
        await until(pilot, lambda: not isinstance(pilot.app.focused, Input))
        for _ in range(4):  # from CORES to NAME
            await pilot.press("less_than_sign")
        await until(pilot, lambda: shown(pilot, "NAME") == ["blue", "dark-blue", "red"])
        assert not pilot.app.query_one(Input).display


async def test_the_cursor_stays_at_its_cluster(headrace: FakeHeadrace) -> None:
    add(headrace, 1, alias="small")
    add(headrace, 3, alias="large")
    async with running(headrace) as pilot:
        await until(pilot, lambda: len(shown(pilot)) == 2)
        before = pilot.app.table.selected
        await pilot.press("down")
        await until(pilot, lambda: pilot.app.table.selected != before)
        selected = pilot.app.table.selected
        add(headrace, 2, alias="between")
        await until(pilot, lambda: shown(pilot, "NAME") == ["large", "between", "small"])
        assert pilot.app.table.selected == selected


async def test_users_are_summed_up_and_the_queue_is_apart(headrace: FakeHeadrace) -> None:
    headrace.admins.add("users/ann")
    add(headrace, 1)
    add(headrace, 2, "bob")
    add(headrace, 3, "bob")
    add(headrace, 4, "bob", cluster_pb2.PHASE_QUEUED, alias="waits")
    async with running(headrace, "-") as pilot:
        await pilot.press("2")
        await until(pilot, lambda: shown(pilot) == ["bob", "ann"])
        columns = ("CLUSTERS", "QUEUED", "CORES")
        await until(pilot, lambda: [shown(pilot, column)[0] for column in columns] == ["3", "1", "10"])
        await pilot.press("3")
        await until(pilot, lambda: pilot.app.table.id == "queue" and shown(pilot, "NAME") == ["waits"])


async def test_a_cluster_is_stopped_after_a_question(headrace: FakeHeadrace) -> None:
    mine = add(headrace, 1, alias="mine")
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot, "NAME") == ["mine"])
        await pilot.press("s")
        await until(pilot, lambda: f"Stop cluster {mine.id} (mine) of ann?" in screen(pilot))
        await pilot.press("n")
        await until(pilot, lambda: "Stop cluster" not in screen(pilot))
        assert mine.lives
        await stop_selected(pilot, "y")
        await until(pilot, lambda: not mine.lives)
        await until(pilot, lambda: not shown(pilot))


async def test_a_cluster_is_kept_for_a_time_that_is_asked_for(headrace: FakeHeadrace) -> None:
    add(headrace, 1)
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot) == ["ann"])
        await type_in(pilot, "e", *["backspace"] * 2, *"3h", "enter")
        await until(pilot, lambda: "for 3h" in screen(pilot))
        [request] = headrace.requests_of(KeepClusterRequest)
        assert request.duration.seconds == 3 * 3600
        await type_in(pilot, "e", "x", "enter")
        await until(pilot, lambda: "must be a time such as" in " ".join(screen(pilot).split()))
        await type_in(pilot, "e", "escape")
        assert len(headrace.requests_of(KeepClusterRequest)) == 1


async def test_a_stop_that_is_refused_says_why(headrace: FakeHeadrace) -> None:
    mine = add(headrace, 1)
    headrace.fail("StopCluster", errors.PermissionDenied("you may not stop it [b]now[/b]"))
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot) == ["ann"])
        await stop_selected(pilot, "y")
        await until(pilot, lambda: "you may not stop it [b]now[/b]" in screen(pilot))
        assert mine.lives


async def test_it_goes_on_after_the_server_was_away_and_forgets_what_ended_meanwhile(headrace: FakeHeadrace) -> None:
    gone = add(headrace, 1, alias="gone")
    add(headrace, 2, alias="stays")
    async with running(headrace) as pilot:
        await until(pilot, lambda: len(shown(pilot)) == 2)
        headrace.fail("WatchClusters", errors.ResumeTokenTooOld("too old"))
        headrace.stop_server()
        del headrace.clusters[gone.id]
        headrace.restart_server()
        await until(pilot, lambda: shown(pilot, "NAME") == ["stays"])


async def test_what_users_wrote_is_neither_markup_nor_an_order_to_the_terminal(headrace: FakeHeadrace) -> None:
    made = add(headrace, 1)
    made.record.status.message = "[red]a[/red]\x1b[2J\nb"
    headrace.set_phase(made, cluster_pb2.PHASE_RUNNING)
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot, "MESSAGE") == ["[red]a[/red] [2J b"])
        assert "[red]a[/red] [2J b" in screen(pilot)


async def test_a_column_is_as_wide_as_its_texts(headrace: FakeHeadrace) -> None:
    made = add(headrace, 1)
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot) == ["ann"])
        made.record.spec.profile = "a-profile-with-a-long-name"
        headrace.set_phase(made, cluster_pb2.PHASE_RUNNING)
        await until(pilot, lambda: "a-profile-with-a-long-name" in screen(pilot))


async def test_a_long_name_is_cut_and_found_by_what_was_cut(headrace: FakeHeadrace) -> None:
    add(headrace, 1, alias="weather-forecast-ensemble")
    add(headrace, 2, alias="other")
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot, "NAME") == ["other", "weather-forecas…"])
        await type_in(pilot, "slash", *"ensemble", "enter")
        await until(pilot, lambda: shown(pilot, "NAME") == ["weather-forecas…"])


async def test_what_clusters_cost_is_shown_by_cluster_and_by_user(headrace: FakeHeadrace) -> None:
    for number in (1, 2):
        made = add(headrace, number)
        usage = made.record.status.usage
        usage.as_of.GetCurrentTime()
        usage.cost, usage.cost_per_hour, usage.currency = 1.25 * number, 0.001, "EUR"
        headrace.set_phase(made, cluster_pb2.PHASE_RUNNING)
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot, "COST") == ["2.50 EUR", "1.25 EUR"])
        await until(pilot, lambda: "0.00 EUR an hour" in screen(pilot))
        await pilot.press("2")
        await until(pilot, lambda: shown(pilot, "COST") == ["3.75 EUR"])


async def test_id_and_message_of_the_selected_cluster_are_below(headrace: FakeHeadrace) -> None:
    made = add(headrace, 1, phase=cluster_pb2.PHASE_QUEUED, alias="waits")
    made.record.status.message = "Waits for room. 2 clusters are before it."
    headrace.set_phase(made, cluster_pb2.PHASE_QUEUED)
    async with running(headrace, size=(80, 24)) as pilot:
        await until(pilot, lambda: f"{made.id}  Waits for room. 2 clusters are before it." in screen(pilot))


async def test_shared_clusters_are_watched_unless_the_server_is_older(headrace: FakeHeadrace) -> None:
    headrace.fail("WatchClusters", errors.InvalidRequest("shared clusters cannot be watched"))
    add(headrace, 1)
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot) == ["ann"])
    asked = [request.filter.include_shared for request in headrace.requests_of(WatchClustersRequest)]
    assert asked == [True, False]


async def test_while_the_server_is_away_it_says_so_and_shows_what_it_knew(
    headrace: FakeHeadrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace._wire.resuming._QUIET_SECONDS", 0.0)
    add(headrace, 1)
    async with running(headrace) as pilot:
        await until(pilot, lambda: shown(pilot) == ["ann"])
        headrace.stop_server()
        await until(pilot, lambda: "not up to date, trying again: " in screen(pilot))
        assert shown(pilot) == ["ann"]
        headrace.restart_server()
        await until(pilot, lambda: "not up to date" not in screen(pilot))


async def test_a_server_that_is_away_for_longer_than_clients_wait_does_not_end_it(
    headrace: FakeHeadrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace._wire.resuming._QUIET_SECONDS", math.inf)  # so that only giving up is told
    add(headrace, 1)
    with dask.config.set({"headrace.timeouts.call": "5s", "headrace.session-grace": "1s"}):
        async with running(headrace) as pilot:
            await until(pilot, lambda: shown(pilot) == ["ann"])
            headrace.stop_server()
            await until(pilot, lambda: pilot.app.following.trouble)
            headrace.restart_server()
            await until(pilot, lambda: not pilot.app.following.trouble)


async def test_of_very_many_clusters_the_first_are_shown(headrace: FakeHeadrace) -> None:
    async with running(headrace) as pilot:
        for number in range(MOST_ROWS + 50):
            pilot.app.following.clusters[f"{number}"] = cluster_pb2.Cluster(name=f"clusters/{number}")
        await until(pilot, lambda: f"the first {MOST_ROWS} of {MOST_ROWS + 50} rows" in screen(pilot))
        assert len(shown(pilot)) == MOST_ROWS


def test_rows_that_are_equal_keep_their_order() -> None:
    cells = (rows.Cell("same", 1.0),)
    made = [rows.Row(key, cells) for key in ("b", "a", "c")]
    for descending in (True, False):
        assert [row.key for row in rows.select(made, "SAME", 0, descending=descending)] == ["a", "b", "c"]


def test_without_textual_it_says_what_to_install(
    headrace: FakeHeadrace, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("headrace.cli.top.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    done = cli("top")
    assert done.code == 1
    assert "pip install 'headrace[top]'" in done.err
