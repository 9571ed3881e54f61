"""Requests: every field is checked, and everything that is wrong is reported at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from tests.controller.builders import new_cluster

from headrace.access import Share
from headrace.errors import GroupNotFound, InvalidRequest
from headrace.option_protos import value_to_proto
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import Caller
from headrace_controller.api import requests, updates
from headrace_controller.api.worker_groups import adapted, scaled
from headrace_controller.config import Settings
from headrace_controller.model import AdaptRange, Cluster, Group
from headrace_controller.profiles import build_profiles

SETTINGS = Settings(
    listen="127.0.0.1:0",
    deployment_key_file=Path("key"),
    profiles={"small": {}, "large": {"options": {"worker_cores": {"minimum": 8, "default": 8}}}},  # pyright: ignore[reportArgumentType]
)
PROFILES = build_profiles(SETTINGS.policy(), {"local": []})
ANN = Caller("ann")


def new(request: pb.CreateClusterRequest) -> requests.NewCluster:
    ann = requests.person(ANN)
    profile = requests.choose_profile(PROFILES, request.spec.profile, ann, ANN, "spec.profile")
    return requests.new_cluster(request, profile.key, profile.offered(ann))


def changed(request: pb.UpdateClusterRequest, cluster: Cluster) -> Cluster:
    update = updates.update(request)
    if update.has_groups:
        offered = PROFILES.get(cluster.spec.profile).offered(requests.person(ANN))
        update = update.check_groups(offered, cluster)
    return update.apply(cluster)


def options(**values: object) -> dict[str, Any]:
    return {key: value_to_proto(value) for key, value in values.items()}


def wrong_fields(check: Callable[[], object]) -> set[str]:
    with pytest.raises(InvalidRequest) as caught:
        check()
    assert all(len(violation.description) < 400 for violation in caught.value.violations)
    return {violation.field for violation in caught.value.violations}


# CreateCluster


def create(**spec: Any) -> pb.CreateClusterRequest:
    return pb.CreateClusterRequest(spec=cluster_pb2.ClusterSpec(**spec))


def test_an_empty_request_is_a_cluster_of_the_default_profile() -> None:
    made = new(pb.CreateClusterRequest())
    assert (made.spec.profile, made.spec.groups, made.spec.lifetime) == ("small", (Group(),), None)
    assert made.spec.options == {"worker_cores": 1.0, "worker_memory": 2**31}


def test_a_whole_request() -> None:
    request = create(
        alias="lab",
        profile="large",
        options=options(worker_memory="4 GiB"),
        tags={"team": "a"},
        worker_groups=[
            cluster_pb2.WorkerGroup(name="a", size=3, options=options(worker_cores=16)),
            cluster_pb2.WorkerGroup(name="b", size=9, adapt=cluster_pb2.AdaptRange(minimum=1, maximum=4)),
            cluster_pb2.WorkerGroup(name="c", size=9, adapt=cluster_pb2.AdaptRange()),
        ],
    )
    request.spec.lifetime.FromMilliseconds(1500)
    request.owner, request.request_id = "users/ann", "r1"
    share = request.shares.add(member="groups/lab", rights=[right_pb2.RIGHT_CLUSTER_STOP])
    share.expire_time.FromSeconds(5)
    made = new(request)
    assert made.request_id == "r1"
    spec = made.spec
    assert (spec.alias, spec.profile, spec.tags, spec.lifetime) == ("lab", "large", {"team": "a"}, 1.5)
    assert spec.options == {"worker_cores": 8.0, "worker_memory": 2**32}
    assert spec.groups == (
        Group(name="a", size=3, options={"worker_cores": 16.0}),
        Group(name="b", size=4, adapt=AdaptRange(minimum=1, maximum=4)),  # clamped where it enters
        Group(name="c", size=9, adapt=AdaptRange(minimum=0)),
    )
    assert spec.shares == (Share("groups/lab", frozenset({Right.CLUSTER_STOP}), 5.0),)


GROUP = cluster_pb2.WorkerGroup


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"alias": "Not A Label"}, {"spec.alias"}),
        ({"alias": "x" * 64}, {"spec.alias"}),
        ({"alias": "convectionexperiment"}, {"spec.alias"}),
        ({"profile": "huge"}, {"spec.profile"}),
        ({"options": options(worker_memry=1)}, {"spec.options.worker_memry"}),
        ({"options": options(environment={"A=B": "x"})}, {"spec.options.environment: key 'A=B'"}),
        ({"options": {f"o{n}": value_to_proto(n) for n in range(65)}}, {"spec.options"}),
        ({"options": {"worker_cores": cluster_pb2.ClusterSpec().options["x"]}}, {"spec.options.worker_cores"}),
        ({"tags": {"": "x"}}, {"spec.tags."}),
        ({"tags": {"k" * 64: "x"}}, {"spec.tags." + "k" * 64}),
        ({"tags": {"k": "é" * 32}}, {"spec.tags.k"}),
        ({"tags": {f"k{n}": "" for n in range(33)}}, {"spec.tags"}),
        ({"worker_groups": [GROUP(name="")]}, {"spec.worker_groups[0].name"}),
        ({"worker_groups": [GROUP(name="a"), GROUP(name="a")]}, {"spec.worker_groups[1].name"}),
        ({"worker_groups": [GROUP(name="a", size=-1)]}, {"spec.worker_groups[0].size"}),
        ({"worker_groups": [GROUP(name=f"g{n}") for n in range(65)]}, {"spec.worker_groups"}),
        (
            {"worker_groups": [GROUP(name="a", adapt=cluster_pb2.AdaptRange(minimum=-1, maximum=-2))]},
            {"spec.worker_groups[0].adapt.minimum", "spec.worker_groups[0].adapt.maximum"},
        ),
        (
            {"alias": "!", "tags": {"": ""}, "worker_groups": [GROUP(name="a", options=options(nope=1))]},
            {"spec.alias", "spec.tags.", "spec.worker_groups[0].options.nope"},
        ),
    ],
)
def test_what_is_wrong_is_named(spec: dict[str, Any], fields: set[str]) -> None:
    assert wrong_fields(lambda: new(create(**spec))) == fields


@pytest.mark.parametrize("seconds", [0, -1, 10 * 365 * 86400 + 1, -(2**62), 2**62])
def test_lifetimes_have_bounds(seconds: int) -> None:
    request = create()
    request.spec.lifetime.seconds = seconds
    assert wrong_fields(lambda: new(request)) == {"spec.lifetime"}


@pytest.mark.parametrize(
    ("member", "rights", "field"),
    [
        ("ann", [right_pb2.RIGHT_CLUSTER_VIEW], "shares[0].member"),
        ("users/", [right_pb2.RIGHT_CLUSTER_VIEW], "shares[0].member"),
        ("users/a/b", [right_pb2.RIGHT_CLUSTER_VIEW], "shares[0].member"),
        ("machines/m", [right_pb2.RIGHT_CLUSTER_VIEW], "shares[0].member"),
        ("users/" + "x" * 257, [right_pb2.RIGHT_CLUSTER_VIEW], "shares[0].member"),
        ("users/bob", [], "shares[0].rights"),
        ("users/bob", [right_pb2.RIGHT_CLUSTER_MANAGE], "shares[0].rights"),
        ("users/bob", [right_pb2.RIGHT_CLUSTER_VIEW, right_pb2.RIGHT_CLUSTER_CREATE], "shares[0].rights"),
        ("users/bob", [right_pb2.RIGHT_UNSPECIFIED], "shares[0].rights"),
        ("users/bob", [right_pb2.RIGHT_CLUSTER_VIEW, 999], "shares[0].rights"),
    ],
)
def test_shares_grant_what_can_be_shared_to_users_and_groups(member: str, rights: list[Any], field: str) -> None:
    request = pb.CreateClusterRequest(shares=[cluster_pb2.Share(member=member, rights=rights)])
    assert wrong_fields(lambda: new(request)) == {field}


@pytest.mark.parametrize("time", [{"nanos": -(2**31)}, {"nanos": 10**9}, {"seconds": 2**63 - 1}, {"seconds": -(2**63)}])
def test_shares_end_at_times_that_exist(time: dict[str, int]) -> None:
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW], expire_time=Timestamp(**time))
    request = pb.CreateClusterRequest(shares=[share])
    assert wrong_fields(lambda: new(request)) == {"shares[0].expire_time"}


def test_there_are_not_too_many_shares() -> None:
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW])
    request = pb.CreateClusterRequest(shares=[share] * 65)
    assert wrong_fields(lambda: new(request)) == {"shares"}


def test_request_ids_have_bounds() -> None:
    long = pb.CreateClusterRequest(request_id="x" * 65)
    assert wrong_fields(lambda: new(long)) == {"request_id"}


# Other requests


def test_sizes_ranges_and_versions() -> None:
    assert requests.size(pb.ScaleClusterRequest(size=3)) == 3
    assert wrong_fields(lambda: requests.size(pb.ScaleClusterRequest(size=-3))) == {"size"}
    assert requests.adapt_range(pb.AdaptClusterRequest()) is None
    unbounded = pb.AdaptClusterRequest(adapt=cluster_pb2.AdaptRange(minimum=2))
    assert requests.adapt_range(unbounded) == AdaptRange(minimum=2)
    bad = pb.AdaptClusterRequest(adapt=cluster_pb2.AdaptRange(minimum=2, maximum=1))
    assert wrong_fields(lambda: requests.adapt_range(bad)) == {"adapt.maximum"}
    assert (requests.resource_version(""), requests.resource_version("17")) == (0, 17)
    for text in ("x", "-1", "1" * 20, "²", "1 "):
        assert wrong_fields(lambda text=text: requests.resource_version(text)) == {"resource_version"}
    assert (requests.group_name(""), requests.group_name("a")) == ("default", "a")


# UpdateCluster

FIXED = Group(name="fixed", size=2, options={"worker_cores": 4.0})
ADAPTIVE = Group(name="adaptive", size=1, adapt=AdaptRange(minimum=1, maximum=9))
CLUSTER = replace(
    new_cluster(profile="small", groups=(FIXED, ADAPTIVE), tags={"a": "b"}, lifetime=60.0), targets={"adaptive": 5}
)


def updated(*paths: str, **fields: Any) -> Cluster:
    request = pb.UpdateClusterRequest(cluster=cluster_pb2.Cluster(**fields), update_mask=FieldMask(paths=paths))
    return changed(request, CLUSTER)


def spec(**fields: Any) -> cluster_pb2.ClusterSpec:
    return cluster_pb2.ClusterSpec(**fields)


def test_only_what_the_mask_names_changes() -> None:
    assert updated("spec.tags", spec=spec(tags={"c": "d"})).spec == replace(CLUSTER.spec, tags={"c": "d"})
    assert updated("spec.lifetime", spec=spec(tags={"c": "d"})).spec == replace(CLUSTER.spec, lifetime=None)
    shares = [cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW])]
    assert updated("shares", shares=shares).spec.shares == (Share("users/bob", frozenset({Right.CLUSTER_VIEW})),)
    assert updated("shares", "spec.tags").spec == replace(CLUSTER.spec, tags={})


def test_groups_are_added_removed_and_resized() -> None:
    fixed, new = GROUP(name="fixed", size=7), GROUP(name="new", size=1, options=options(worker_cores=2))
    after = updated("spec.worker_groups", spec=spec(worker_groups=[fixed, new]))
    assert after.spec.groups == (replace(FIXED, size=7), Group(name="new", size=1, options={"worker_cores": 2.0}))
    assert after.targets == {}


@pytest.mark.parametrize(
    ("adapt", "target"),
    [
        (cluster_pb2.AdaptRange(minimum=1, maximum=9), 5),
        (cluster_pb2.AdaptRange(maximum=3), 3),
        (cluster_pb2.AdaptRange(minimum=7), 7),
    ],
)
def test_a_group_that_stays_adaptive_keeps_its_workers_if_it_can(adapt: cluster_pb2.AdaptRange, target: int) -> None:
    after = updated("spec.worker_groups", spec=spec(worker_groups=[GROUP(name="adaptive", size=1, adapt=adapt)]))
    assert after.targets == {"adaptive": target}


@pytest.mark.parametrize("given", [{}, {"worker_cores": 4.0}, {"worker_cores": 4}])
def test_options_of_a_group_may_be_left_out_or_repeated(given: dict[str, object]) -> None:
    after = updated("spec.worker_groups", spec=spec(worker_groups=[GROUP(name="fixed", options=options(**given))]))
    assert after.spec.groups == (replace(FIXED, size=0),)


def test_a_group_that_was_read_may_be_sent_back_although_its_options_were_narrowed_since() -> None:
    old = replace(CLUSTER, spec=replace(CLUSTER.spec, profile="large"))
    group = GROUP(name="fixed", size=1, options=options(worker_cores=4.0))
    request = pb.UpdateClusterRequest(
        cluster=cluster_pb2.Cluster(spec=spec(worker_groups=[group])),
        update_mask=FieldMask(paths=["spec.worker_groups"]),
    )
    assert changed(request, old).spec.groups == (replace(FIXED, size=1),)


@pytest.mark.parametrize(
    ("paths", "message", "fields"),
    [
        ([], {}, {"update_mask"}),
        (["spec.alias"], {}, {"update_mask"}),
        (["spec", "*"], {}, {"update_mask"}),
        (["spec.tags"], {"spec": spec(tags={"": ""})}, {"cluster.spec.tags."}),
        (["spec.worker_groups"], {}, {"cluster.spec.worker_groups"}),
        (
            ["spec.worker_groups"],
            {"spec": spec(worker_groups=[GROUP(name="!")])},
            {"cluster.spec.worker_groups[0].name"},
        ),
        (
            ["spec.worker_groups"],
            {"spec": spec(worker_groups=[GROUP(name="fixed", options=options(worker_cores=8))])},
            {"cluster.spec.worker_groups[0].options"},
        ),
        (
            ["shares"],
            {"shares": [cluster_pb2.Share(member="bob")]},
            {"cluster.shares[0].member", "cluster.shares[0].rights"},
        ),
    ],
)
def test_updates_that_cannot_be_made(paths: list[str], message: dict[str, Any], fields: set[str]) -> None:
    assert wrong_fields(lambda: updated(*paths, **message)) == fields


def test_a_bad_lifetime_is_named() -> None:
    message = cluster_pb2.Cluster()
    message.spec.lifetime.seconds = -1
    request = pb.UpdateClusterRequest(cluster=message, update_mask=FieldMask(paths=["spec.lifetime"]))
    assert wrong_fields(lambda: updates.update(request)) == {"cluster.spec.lifetime"}


def test_an_update_describes_itself() -> None:
    request = pb.UpdateClusterRequest(update_mask=FieldMask(paths=["shares", "spec.tags", "spec.lifetime"]))
    assert updates.update(request).describe() == "tags, lifetime, shares (now with nobody)"
    request.cluster.shares.add(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW, right_pb2.RIGHT_CLUSTER_STOP])
    assert updates.update(request).describe() == "tags, lifetime, shares (now with users/bob: stop, view)"


# ScaleCluster and AdaptCluster


def test_scaling_sets_a_fixed_size() -> None:
    after = scaled(CLUSTER, "adaptive", 3)
    assert after.spec.group("adaptive") == replace(ADAPTIVE, size=3, adapt=None)
    assert after.targets == {}


@pytest.mark.parametrize(
    ("group", "adapt", "desired"),
    [
        ("fixed", AdaptRange(minimum=0), 2),
        ("fixed", AdaptRange(minimum=4), 4),
        ("fixed", AdaptRange(minimum=0, maximum=1), 1),
        ("adaptive", AdaptRange(minimum=0), 5),
        ("adaptive", AdaptRange(minimum=0, maximum=3), 3),
        ("adaptive", None, 5),
    ],
)
def test_adaptive_scaling_starts_and_ends_with_the_current_number(
    group: str, adapt: AdaptRange | None, desired: int
) -> None:
    after = adapted(CLUSTER, group, adapt)
    now = after.spec.group(group)
    assert now is not None
    assert now.adapt == adapt
    assert after.desired(now) == desired
    assert (group in after.targets) is (adapt is not None)
    assert adapt is None or adapt.clamp(now.size) == now.size


def test_an_unknown_group_is_named_with_those_that_there_are() -> None:
    with pytest.raises(GroupNotFound, match=r"has no worker group 'x'; it has 'fixed', 'adaptive'"):
        scaled(CLUSTER, "x", 1)
