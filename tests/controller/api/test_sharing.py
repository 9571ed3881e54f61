"""Clusters in the hands of those that they are shared with, and of operators of groups."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Replica, Site
from tests.controller.user import User

from headrace.errors import ClusterNotFound, PermissionDenied, ResumeTokenTooOld
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb

CONNECT, VIEW, STOP = right_pb2.RIGHT_CLUSTER_CONNECT, right_pb2.RIGHT_CLUSTER_VIEW, right_pb2.RIGHT_CLUSTER_STOP


def share(member: str, *rights: right_pb2.Right.ValueType, seconds: float | None = None) -> cluster_pb2.Share:
    made = cluster_pb2.Share(member=member, rights=rights or [CONNECT])
    if seconds is not None:
        made.expire_time.FromMilliseconds(int((time.time() + seconds) * 1000))
    return made


async def shared(ann: User, *shares: cluster_pb2.Share, **spec: Any) -> str:
    return (await ann.create(request={"shares": shares}, **spec)).name


async def listed(user: User, **filter_: Any) -> list[str]:
    wanted = pb.ClusterFilter(include_shared=True, **filter_)
    names, token = list[str](), ""
    while True:
        answer = await user.call("ListClusters", pb.ListClustersRequest(filter=wanted, page_size=2, page_token=token))
        names += [cluster.name for cluster in answer.clusters]
        if not (token := answer.next_page_token):
            return names


async def test_lists_have_what_is_shared_if_that_is_asked_for(controller: Replica, ann: User, bob: User) -> None:
    lab = await controller.user("lea", groups=["physics/lasers"])
    by_name = await shared(ann, share("users/bob"))
    by_group = await shared(ann, share("groups/physics/lasers", VIEW), share("users/bob", STOP))
    await shared(ann, share("users/bob", seconds=-1))
    mine = (await bob.create()).name
    assert await listed(bob) == [mine, by_group, by_name]
    assert await listed(bob, owner="users/ann") == [by_group, by_name]
    assert await listed(lab) == [by_group]
    assert len(await listed(ann)) == 3
    own = await bob.call("ListClusters", pb.ListClustersRequest())
    assert [cluster.name for cluster in own.clusters] == [mine]
    await ann.update(by_name, "shares")
    assert await listed(bob) == [mine, by_group]


async def test_an_admins_shared_clusters_are_not_everybodys(ann: User, admin: User) -> None:
    await ann.create()
    assert await listed(admin) == []
    name = await shared(ann, share("users/root"))
    assert await listed(admin) == [name]


async def test_a_batch_stops_what_the_caller_may_stop(ann: User, bob: User) -> None:
    await shared(ann, share("users/bob", VIEW))
    name = await shared(ann, share("users/bob", STOP))
    answer = await bob.call(
        "BatchStopClusters", pb.BatchStopClustersRequest(filter=pb.ClusterFilter(include_shared=True))
    )
    assert list(answer.stopped) == [name]
    assert not answer.failures


SHARED = pb.WatchClustersRequest(filter=pb.ClusterFilter(include_shared=True), include_events=True)


async def steps_to_checkpoint(stream: Any) -> list[pb.WatchClustersResponse]:
    steps = list[pb.WatchClustersResponse]()
    while not (step := await stream.read()).HasField("checkpoint"):
        steps.append(step)
    return steps


def names(steps: list[pb.WatchClustersResponse]) -> set[str]:
    return {step.cluster.name for step in steps if step.HasField("cluster")}


async def next_step(stream: Any, kind: str, name: str, *others: str) -> None:
    """Read until a cluster is reported, or is reported as removed. What is read before is about it or the others."""
    while True:
        step = await stream.read()
        found = step.cluster.name or step.removed or step.event.name.partition("/events/")[0]
        if step.WhichOneof("change") == kind and found == name:
            return
        assert found in {"", name, *others}


async def test_a_watch_of_what_is_shared_follows_the_shares(ann: User, bob: User) -> None:
    mine, before = (await bob.create()).name, await shared(ann, share("users/bob"))
    later = await shared(ann, share("users/eve"))
    stream = bob.stream("WatchClusters", SHARED)
    assert names(await steps_to_checkpoint(stream)) == {mine, before}
    await ann.update(later, "shares", shares=[share("users/bob", VIEW)])
    await next_step(stream, "cluster", later, mine, before)
    await ann.update(later, "shares")
    await next_step(stream, "removed", later, mine, before)
    await ann.update(later, "shares", shares=[share("users/eve")])
    await ann.update(before, "shares")
    await next_step(stream, "removed", before, mine)


async def test_a_watch_of_what_is_shared_ends_with_the_time_of_a_share(ann: User, bob: User) -> None:
    name = await shared(ann, share("users/bob"))
    stream = bob.stream("WatchClusters", SHARED)
    assert names(await steps_to_checkpoint(stream)) == {name}
    await ann.update(name, "shares", shares=[share("users/bob", seconds=0.5)])
    await next_step(stream, "removed", name)


async def test_a_watch_of_what_is_shared_is_not_resumed(ann: User, bob: User) -> None:
    """Its client may know clusters that it may not see any more, and which they are is not known here."""
    stream = bob.stream("WatchClusters", SHARED)
    token = (await stream.read()).resume_token
    again = pb.WatchClustersRequest(filter=SHARED.filter, resume_token=token)
    await fails(ResumeTokenTooOld, bob.stream("WatchClusters", again).read())


async def test_an_admins_watch_of_what_is_shared_is_not_of_everybodys(ann: User, admin: User) -> None:
    await ann.create()
    name = await shared(ann, share("users/root"))
    assert names(await steps_to_checkpoint(admin.stream("WatchClusters", SHARED))) == {name}


async def test_the_name_of_another_user_goes_before_the_alias(ann: User, bob: User) -> None:
    name = await shared(ann, share("users/bob"), alias="lab")
    assert (await bob.get("clusters/~ann:lab")).name == name
    assert (await ann.get("clusters/~ann:lab")).name == name
    await fails(ClusterNotFound, bob.get("clusters/~lab"))  # else anybody could put theirs in the place of his
    await ann.update(name, "shares")
    await fails(ClusterNotFound, bob.get("clusters/~ann:lab"))


@pytest.mark.parametrize(
    "member",
    [
        "",
        "bob",
        "users/",
        "users/-",
        "users/a b",
        "users/a/b",
        "users/\n",
        "users/" + "x" * 257,
        "groups/",
        "groups/a//b",
    ],
)
async def test_wrong_members_change_nothing(ann: User, member: str) -> None:
    name = await shared(ann, share("users/bob"))
    wrong = [share("groups/lab"), share(member)]
    assert await wrong_fields(ann.update(name, "shares", shares=wrong)) <= {
        "cluster.shares",
        "cluster.shares[1].member",
    }
    assert await wrong_fields(ann.create(request={"shares": wrong})) <= {"shares", "shares[1].member"}
    assert [one.member for one in (await ann.get(name)).shares] == ["users/bob"]


async def test_an_owner_needs_no_share(ann: User, admin: User) -> None:
    name = await shared(ann)
    own = [share("users/ann")]
    assert await wrong_fields(ann.update(name, "shares", shares=own)) == {"cluster.shares"}
    assert await wrong_fields(ann.create(request={"shares": own})) == {"shares"}
    assert await wrong_fields(admin.create(request={"shares": own, "owner": "users/ann"})) == {"shares"}


async def test_a_member_is_there_once(ann: User) -> None:
    twice = [share("users/bob"), share("users/bob", VIEW)]
    assert await wrong_fields(ann.create(request={"shares": twice})) == {"shares[0].member", "shares[1].member"}


@pytest.mark.parametrize("method", ["WatchClusters", "ReadLogs"])
@pytest.mark.parametrize("ends", ["unshared", "expired"])
async def test_streams_end_with_the_share(ann: User, bob: User, method: str, ends: str) -> None:
    name = await shared(ann, share("users/bob"))
    watch = method == "WatchClusters"
    stream = bob.stream(
        method, pb.WatchClustersRequest(name=name) if watch else pb.ReadLogsRequest(name=name, follow=True)
    )
    if watch:
        await stream.read()
    await ann.update(name, "shares", shares=[share("users/bob", seconds=0.5)] if ends == "expired" else [])

    async def to_end() -> None:
        while await stream.read() is not grpc.aio.EOF:
            pass

    await fails(ClusterNotFound, to_end())


async def test_the_certificate_of_a_guest_names_the_share_and_is_short(ann: User, bob: User, admin: User) -> None:
    name = await shared(ann, share("users/bob", seconds=300), share("users/root", VIEW), share("groups/lab"))

    async def certificate(user: User) -> tuple[list[str | bytes], float]:
        answer = await user.call("ConnectCluster", pb.ConnectClusterRequest(name=name))
        subject = x509.load_pem_x509_certificate(answer.certificate_pem.encode()).subject
        units = [one.value for one in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
        return units, answer.expire_time.ToMilliseconds() / 1000 - time.time()

    units, seconds = await certificate(bob)
    assert units == ["users/bob"]
    assert seconds <= 300
    units, seconds = await certificate(ann)
    assert units == ["users/ann"]
    assert seconds > 900
    assert (await certificate(admin))[0] == ["roles/admin"]
    await ann.update(name, "shares", shares=[share("users/bob"), share("groups/lab")])
    assert (await certificate(bob))[1] <= 900


POLICY = "roles: {operators: {physics: [users/olga, groups/staff], chemistry: [users/bob]}}"


@pytest.fixture
async def operated(site: Site, tmp_path: Path) -> Replica:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return await site.replica(policy_file=tmp_path / "policy.yaml", checkpoint_seconds=0.2)


async def test_operators_see_scale_and_stop_the_clusters_of_their_group(operated: Replica) -> None:
    ann, zoe = await operated.user("ann", groups=["physics"]), await operated.user("zoe", groups=["art"])
    name, other = (await ann.create()).name, (await zoe.create()).name
    for operator in (await operated.user("olga"), await operated.user("stan", groups=["staff"])):
        assert await listed(operator) == [name]
        assert (await operator.get(name)).owner == "users/ann"
        await operator.scale(name, 1)
        await fails(PermissionDenied, operator.call("ConnectCluster", pb.ConnectClusterRequest(name=name)))
        await fails(PermissionDenied, operator.update(name, "spec.tags"))
        await fails(ClusterNotFound, operator.get(other))
    await fails(ClusterNotFound, (await operated.user("bob")).get(name))
    await operator.stop(name)
    answer = await ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    texts = [event.message for event in answer.cluster_events]
    assert "operator olga for ann requested 1 worker in group 'default'." in texts
    assert "Stop requested by operator stan for ann." in texts


async def test_an_operators_watch_follows_the_policy(operated: Replica, tmp_path: Path) -> None:
    name = (await (await operated.user("ann", groups=["physics"])).create()).name
    stream = (await operated.user("olga")).stream("WatchClusters", SHARED)
    assert names(await steps_to_checkpoint(stream)) == {name}
    (tmp_path / "policy.yaml").write_text("roles: {operators: {physics: [users/stan]}}")
    await next_step(stream, "removed", name)
    (tmp_path / "policy.yaml").write_text(POLICY)
    await next_step(stream, "cluster", name)


async def test_what_an_admin_does_for_somebody_is_said(ann: User, admin: User) -> None:
    name = (await admin.create(request={"owner": "users/ann"})).name
    await admin.scale(name, 1)
    await admin.stop(name)
    answer = await ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    texts = [event.message for event in answer.cluster_events]
    assert "Created by admin root for ann." in texts
    assert "admin root for ann requested 1 worker in group 'default'." in texts
    assert "Stop requested by admin root for ann." in texts
