"""What the client makes of usage and budgets, at a real controller; and that the page about them is right."""

from __future__ import annotations

import csv
import io
import re
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import pytest
import typer.main
from redis.asyncio import Redis
from tests.contract.connection_of_ann import ConnectionOfAnn
from tests.controller.running import site

from headrace._dask.cluster_cost import spent
from headrace._wire import calls, usage_calls
from headrace._wire.connection import Connection
from headrace._wire.creating import Wanted, get_or_create
from headrace.cli import usage as command
from headrace.errors import InvalidRequest, PermissionDenied
from headrace.v1 import cluster_pb2, usage_service_pb2
from headrace_controller.policy.file import PolicyFile

PAGE = Path(__file__).parents[2] / "docs/usage.md"
POLICY = """
currency: EUR
profiles: {default: {prices: {core_hour: 1000000}}}
budgets: {user: [{per: month, core_hours: 1000}]}
"""


@pytest.fixture
async def connection(redis_url: str, redis: Redis) -> AsyncIterator[Connection]:
    _ = redis  # flushed
    directory = Path(tempfile.mkdtemp(prefix="hru-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        deployment = await stack.enter_async_context(site(directory, redis_url))
        (directory / "policy").write_text(POLICY)
        replica = await deployment.replica(policy_file=directory / "policy")
        yield ConnectionOfAnn(await stack.enter_async_context(grpc.aio.insecure_channel(replica.endpoint)))


async def test_usage_is_a_list_of_rows(connection: Connection) -> None:
    spec = cluster_pb2.ClusterSpec(alias="mine", tags={"team": "red"})
    cluster, _ = await get_or_create(connection, Wanted(spec, frozenset(), [], ""))
    (row,) = await usage_calls.usage(connection, by=["cluster", "tag:team", "profile"])
    assert row["cluster"] == calls.cluster_id(cluster.name)
    assert (row["name"], row["tag"], row["profile"], row["currency"]) == ("mine", "red", "default", "EUR")
    assert row["core_hours"] == pytest.approx(row["cluster_hours"])
    assert row["cost"] == pytest.approx(row["core_hours"] * 1_000_000)
    assert row["measured_core_hours"] is None
    today = datetime.now(UTC).date()
    (day,) = await usage_calls.usage(connection, by=["day"], since=today, until=today)
    assert day["day"] == today.isoformat()
    (budget,) = (await usage_calls.budgets(connection)).budgets
    assert (budget.subject, budget.period, budget.what, budget.limit) == ("users/ann", "month", "core_hours", 1000)
    assert 0 < budget.used < 1
    with pytest.raises(PermissionDenied, match="users see their own"):
        await usage_calls.usage(connection, of="users/bob")
    assert list(row) == usage_calls.columns(["cluster", "tag:team", "profile"])
    (month,) = await usage_calls.usage(connection, by=["month"], since=today, until=today)
    assert month["month"] == f"{today:%Y-%m}"
    for wrong in ("year", "tag:", "day:x"):
        with pytest.raises(InvalidRequest, match="is none of day, month, user"):
            await usage_calls.usage(connection, by=[wrong])
    for argument, text in [
        ({"since": "yesterday"}, "since: must be a day such as 2026-11-26, is 'yesterday'"),
        ({"until": "now"}, "until: must be a day such as 2026-11-26, is 'now'"),
        ({"of": "ann"}, "of: must be "),
    ]:
        with pytest.raises(InvalidRequest, match=f"^{text}"):
            await usage_calls.usage(connection, **argument)
    label, text = spent(cluster.status.usage) or ("", "")
    assert label == "cost"
    assert text.endswith(" EUR")


def test_what_a_cluster_has_cost_goes_on_as_it_was_last_seen() -> None:
    usage = cluster_pb2.ClusterUsage(core_seconds=3600, cores=2)
    assert spent(usage) is None
    usage.as_of.FromSeconds(1000)
    assert spent(usage, now=1000 + 1800) == ("core_hours", "2.00")
    assert spent(usage, now=0) == ("core_hours", "1.00")
    usage.MergeFrom(cluster_pb2.ClusterUsage(cost=1, cost_per_hour=4, currency="EUR\x1b"))
    assert spent(usage, now=1000 + 1800) == ("cost", "3.00 EUR")


def test_usage_is_printed_as_csv_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        **dict.fromkeys(("core_hours", "memory_gib_hours", "gpu_hours", "cost"), 1.5),
        "tag": "=1+1\x1b",
        "currency": "EUR",
        "measured_core_hours": None,
    }
    command._print_csv([row], list(row))  # pyright: ignore[reportPrivateUsage]
    (read,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert read["measured_core_hours"] == ""
    command._print_rows([row], ["tag"])  # pyright: ignore[reportPrivateUsage]
    table = capsys.readouterr().out
    assert "not measured" in table
    assert "COST (EUR)" in table
    assert "\x1b" not in table


@pytest.mark.parametrize(("currency", "what"), [("EUR", "cost (EUR) per day"), ("", "cost per day")])
def test_budgets_are_printed_with_their_currency(capsys: pytest.CaptureFixture[str], currency: str, what: str) -> None:
    state = usage_service_pb2.BudgetState(subject="users/ann", period="day", what="cost", limit=0.15)
    hours = usage_service_pb2.BudgetState(subject="users/ann", period="day", what="core_hours", limit=1)
    found = usage_service_pb2.ListBudgetsResponse(budgets=[state, hours], currency=currency)
    command._print_budgets(found)  # pyright: ignore[reportPrivateUsage]
    printed = capsys.readouterr().out
    assert what in printed
    assert "core_hours per day" in printed


def test_whatever_users_write_stays_one_cell_and_no_spreadsheet_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r\n=1", "＝1", '=cmd|"/C calc"!A0']
    texts = ['a,"b"', "two\nlines", "größe=日本", "a=1", "", "'x"]
    rows = [{"tag": text, "cost": -1.5} for text in formulas + texts]
    command._print_csv(rows, ["tag", "cost"])  # pyright: ignore[reportPrivateUsage]
    read = [row["tag"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))]
    assert read == [f"'{text}" for text in formulas] + texts


def test_policies_on_the_page_are_right() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        PolicyFile.read(block)


def test_commands_on_the_page_are_right() -> None:
    commands = re.findall(r"^headrace usage (.*?)(?:#.*)?$", PAGE.read_text("utf-8").replace("\\\n", ""), re.MULTILINE)
    assert len(commands) >= 7
    for line in commands:
        arguments = shlex.split(line.partition(">")[0].replace("$day", "2026-11-26"))
        found = typer.main.get_command(command.app).make_context("usage", arguments).params
        usage_calls.columns(found["by"] or [])
