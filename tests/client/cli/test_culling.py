"""`headrace clusters keep` and `headrace admin cull`."""

from __future__ import annotations

import re

import pytest
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace

from headrace.v1 import culling_service_pb2 as pb

from .conftest import Cli


@pytest.fixture
def warned(headrace: FakeHeadrace, cluster: FakeCluster) -> FakeCluster:
    """A cluster that is warned; another one's state is not known."""
    idle = pb.Culling(
        cluster=cluster.record.name,
        owner="users/ann",
        rule="idle",
        action=pb.CULLING_ACTION_SCALE_TO_ZERO,
        message="it has been idle for 25 min",
        warned=True,
        signal="idle since 12:00:00 UTC",
        held_back_by="work, or keeping it",
    )
    for time in (idle.warn_time, idle.act_time, idle.sample_time):
        time.GetCurrentTime()
    unknown = pb.Culling(cluster="clusters/c2", owner="users/bob", rule="idle", message="its measurement is stale")
    headrace.culling.cullings = [idle, unknown]
    return cluster


def test_keep_says_until_when(cli: Cli, cluster: FakeCluster) -> None:
    done = cli("clusters", "keep", "mine", "--hours", "1.5")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{cluster.id}: kept until 20")
    refused = cli("clusters", "keep", "mine", "--hours", "25")
    assert refused.code == 1
    assert "the policy allows at most 1 d at once" in refused.err


def test_a_dry_run_lists_everything_and_does_nothing(cli: Cli, headrace: FakeHeadrace, warned: FakeCluster) -> None:
    done = cli("admin", "cull", "--dry-run")
    assert done.code == 0, done.err
    row = next(line for line in done.out.splitlines() if warned.id in line)
    for text in ("ann", "idle", "scale to zero", "it has been idle for 25 min", "work, or keeping it"):
        assert text in row
    assert re.search(r" now, warned .* \(idle since 12:00:00 UTC, measured \d+ s ago\)", row)
    assert "cannot be known now" in done.out
    assert headrace.culling.culled == []


def test_what_is_warned_of_is_done_after_a_yes(cli: Cli, headrace: FakeHeadrace, warned: FakeCluster) -> None:
    assert cli("admin", "cull").code != 0  # nobody answered
    assert headrace.culling.culled == []
    done = cli("admin", "cull", "--yes")
    assert done.code == 0, done.err
    assert "c2" not in done.out
    assert headrace.culling.culled == [warned.record.name]
