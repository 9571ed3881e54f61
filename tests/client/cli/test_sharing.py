"""`headrace clusters share`, `unshare` and lists of what is shared."""

from __future__ import annotations

from tests.client.cli.conftest import Cli
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace

from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.right_pb2 import RIGHT_CLUSTER_STOP, RIGHT_CLUSTER_VIEW


def test_share_and_unshare_show_who_may_use_it(cli: Cli, cluster: FakeCluster) -> None:
    out = cli("clusters", "share", "mine", "bob", "view,stop", "--for", "2h").out
    [share] = cluster.record.shares
    assert (share.member, list(share.rights)) == ("users/bob", [RIGHT_CLUSTER_STOP, RIGHT_CLUSTER_VIEW])
    assert share.HasField("expire_time")
    assert "users/bob" in out
    assert "stop, view" in out
    assert "the cluster ends" in cli("clusters", "share", "mine", "groups/lab").out
    assert "users/bob" not in cli("clusters", "unshare", "mine", "bob").out
    assert "is not shared." in cli("clusters", "unshare", "mine", "groups/lab").out


def test_wrong_shares_change_nothing(cli: Cli, cluster: FakeCluster) -> None:
    for arguments in (("ann",), ("bob", "own"), ("bob", "view", "--until", "2020-01-01")):
        done = cli("clusters", "share", "mine", *arguments)
        assert done.code == 1
        assert done.err.startswith("headrace: ")
    assert not cluster.record.shares


def test_lists_and_stops_of_what_is_shared_say_whose_it_is(
    cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster
) -> None:
    assert "OWNER" in cli("clusters", "list", "--shared").out
    [asked] = headrace.requests_of(pb.ListClustersRequest)
    assert asked.filter.include_shared
    cli("clusters", "stop", "--all", "--shared", "--no-wait")
    [stop] = headrace.requests_of(pb.BatchStopClustersRequest)
    assert stop.filter.include_shared
