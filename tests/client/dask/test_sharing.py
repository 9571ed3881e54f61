"""Sharing a cluster: what is asked for, what it replaces, and what is refused before anything is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway, Share, errors
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right

CONNECT, VIEW, STOP = Right.CLUSTER_CONNECT, Right.CLUSTER_VIEW, Right.CLUSTER_STOP


def shares(gateway: Gateway, name: str) -> dict[str, set[Right]]:
    return {share.member: set(share.rights) for share in gateway.get_cluster(name).shares}


def test_members_come_and_go_one_by_one(gateway: Gateway) -> None:
    name = gateway.submit(name="lab")
    gateway.share_cluster("lab", "bob")
    gateway.share_cluster(name, "groups/physics/lasers", ["view", "stop"])
    assert shares(gateway, name) == {"users/bob": {CONNECT}, "groups/physics/lasers": {VIEW, STOP}}
    gateway.share_cluster(name, "users/bob", "view,stop")
    assert shares(gateway, name)["users/bob"] == {VIEW, STOP}
    gateway.unshare_cluster(name, "groups/physics/lasers")
    assert shares(gateway, name) == {"users/bob": {VIEW, STOP}}


@pytest.mark.parametrize(
    "end",
    [
        lambda: {"for_": "2 h"},
        lambda: {"for_": timedelta(hours=2)},
        lambda: {"until": datetime.now().astimezone() + timedelta(hours=2)},
    ],
)
def test_a_share_ends_when_it_is_said(gateway: Gateway, end: Callable[[], dict[str, Any]]) -> None:
    name = gateway.submit()
    gateway.share_cluster(name, "bob", **end())
    [share] = gateway.get_cluster(name).shares
    assert share.expires is not None
    assert abs(share.expires - time.time() - 7200) < 600


def test_shares_that_have_ended_are_cleared_away(gateway: Gateway) -> None:
    name = gateway.submit(shares=[Share("users/old", frozenset({VIEW}), 1000.0)])
    gateway.share_cluster(name, "bob")
    assert shares(gateway, name) == {"users/bob": {CONNECT}}


def test_another_clients_share_stays(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit()
    gateway.share_cluster(name, "bob")
    gateway.share_cluster(name, "carl")
    updates = fake.requests_of(pb.UpdateClusterRequest)
    assert [len(update.cluster.shares) for update in updates] == [1, 2]
    assert all(update.cluster.etag for update in updates)


WRONG: list[tuple[Callable[[Gateway, str], object], str]] = [
    (lambda gateway, name: gateway.share_cluster(name, "ann"), "shares: .*owner"),
    (lambda gateway, name: gateway.share_cluster(name, "bob", "manage"), "rights: 'manage' is none of connect"),
    (lambda gateway, name: gateway.share_cluster(name, "bob", ""), "rights: '' is none of"),
    (lambda gateway, name: gateway.share_cluster(name, "bob", []), "rights: must be one or more"),
    (lambda gateway, name: gateway.share_cluster(name, "bob", for_="soon"), "for_: "),
    (lambda gateway, name: gateway.share_cluster(name, "bob", for_=0), "for_: must be more than 0 s"),
    (lambda gateway, name: gateway.share_cluster(name, "bob", for_=timedelta(days=4000)), "for_: .*10 years"),
    (lambda gateway, name: gateway.share_cluster(name, "bob", until=datetime(2020, 1, 1)), "until: 2020-.*past"),  # noqa: DTZ001
    (
        lambda gateway, name: gateway.share_cluster(name, "bob", until=datetime.now().astimezone(), for_=1),
        "until: give either",
    ),
    (lambda gateway, name: gateway.unshare_cluster(name, "bob"), "is not shared with 'users/bob'"),
    (lambda gateway, name: gateway.unshare_cluster(name, "users/ann"), "is not shared with 'users/ann'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_makes_no_sense_changes_nothing(
    gateway: Gateway, change: Callable[[Gateway, str], object], message: str
) -> None:
    name = gateway.submit(shares=[Share("groups/lab", frozenset({VIEW}))])
    with pytest.raises(errors.InvalidRequest, match=message):
        change(gateway, name)
    assert shares(gateway, name) == {"groups/lab": {VIEW}}


def test_a_cluster_knows_its_shares(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert cluster.shares == ()
        cluster.share("bob", "view")
        assert cluster.shares == (Share("users/bob", frozenset({VIEW})),)
        cluster.unshare("bob")
        assert cluster.shares == ()


def test_what_others_share_is_listed_and_named_by_owner(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit(name="lab")
    assert [report.owner for report in gateway.list_clusters(shared=True)] == ["ann"]
    [asked] = fake.requests_of(pb.ListClustersRequest)
    assert asked.filter.include_shared
    assert gateway.get_cluster("ann/lab").name == name
    with pytest.raises(errors.ClusterNotFound):
        gateway.get_cluster("bob/lab")
