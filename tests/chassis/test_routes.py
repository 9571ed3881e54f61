"""Routes as values and as messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from headrace.access import SHARED_RIGHTS, Access, Share
from headrace.internal.v1 import route_service_pb2 as pb
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1.enums import Right
from headrace_chassis.routes import Route, RouteChange, read_shares

names = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)
shares = st.builds(
    Share,
    st.builds("{}/{}".format, st.sampled_from(["users", "groups"]), names),
    st.frozensets(st.sampled_from(sorted(SHARED_RIGHTS))),
    st.none() | st.integers(0, 2**32).map(float),
)
routes = st.builds(
    Route,
    cluster=names,
    access=st.builds(Access, names, st.lists(names).map(tuple), st.lists(shares, max_size=3).map(tuple)),
    scheduler_address=st.text(),
    dashboard_address=st.text(),
)


@given(routes)
def test_a_route_survives_the_wire(route: Route) -> None:
    message = pb.Route.FromString(route.to_message().SerializeToString())
    assert Route.from_message(message) == route


@given(st.lists(routes, max_size=3), st.booleans())
def test_a_change_survives_the_wire(changed: list[Route], snapshot: bool) -> None:
    change = RouteChange(version="7", snapshot=snapshot, routes=tuple(changed), removed=("c1",))
    assert RouteChange.from_message(change.to_message()) == change


def test_a_name_of_another_form_is_read_and_belongs_to_nobody() -> None:
    route = Route.from_message(pb.Route(cluster="clusters/nonsense", owner="teams/x"))
    assert (route.cluster, route.access.owner) == ("nonsense", "teams/x")


def test_a_right_of_a_newer_release_grants_nothing() -> None:
    unknown = b"\x12\x01\x63"  # rights: 99
    (share,) = read_shares([cluster_pb2.Share.FromString(unknown)])
    assert share.rights == frozenset()


def test_an_unspecified_right_grants_nothing() -> None:
    (share,) = read_shares(
        [cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_UNSPECIFIED, right_pb2.RIGHT_CLUSTER_CONNECT])]
    )
    assert share.rights == {Right.CLUSTER_CONNECT}


def test_changes_are_applied_to_what_is_there_and_snapshots_replace_it() -> None:
    a, b, c = (Route(cluster=name) for name in "abc")
    before = {"a": a, "b": b}
    moved = Route(cluster="b", scheduler_address="10.0.0.1:1")
    assert RouteChange(version="1", routes=(moved, c), removed=("a", "x")).apply(before) == {"b": moved, "c": c}
    assert RouteChange(version="2", snapshot=True, routes=(c,)).apply(before) == {"c": c}
    assert before == {"a": a, "b": b}


@pytest.mark.parametrize(
    "cluster", ["clusters/a/b", "clusters/", "", "teams/x", "clusters/" + "c" * 10_000, "clusters"]
)
def test_a_route_that_cannot_be_read_leaves_the_others(cluster: str) -> None:
    message = RouteChange(version="7", routes=(Route(cluster="c1"),)).to_message()
    message.routes.append(pb.Route(cluster=cluster))
    message.routes.append(pb.Route(cluster="clusters/c2", owner="users/a/b"))
    before = REGISTRY.get_sample_value("headrace_routes_set_aside_total") or 0
    change = RouteChange.from_message(message)
    assert [route.cluster for route in change.routes] == ["c1", "c2"]
    assert REGISTRY.get_sample_value("headrace_routes_set_aside_total") == before + 1


def test_a_change_that_cannot_be_read_takes_the_route_away() -> None:
    known = RouteChange(version="6", routes=(Route(cluster="c1"), Route(cluster="c2"))).apply({})
    message = pb.WatchRoutesResponse(
        version="7", routes=[pb.Route(cluster="clusters/c1", shares=[cluster_pb2.Share()])]
    )
    message.routes[0].shares[0].expire_time.seconds = 2**62
    assert RouteChange.from_message(message).apply(known).keys() == {"c2"}


def test_fields_of_a_newer_release_are_passed_over() -> None:
    unknown = b"\xfa\x7f\x01x"  # field 2047: "x"
    message = pb.Route.FromString(Route(cluster="c1").to_message().SerializeToString() + unknown)
    assert Route.from_message(message) == Route(cluster="c1")
