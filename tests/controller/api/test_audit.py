"""The audit log: what is recorded of whom, and who may read it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Replica, Site, token
from tests.controller.user import User

from headrace.errors import ClusterNotFound, PermissionDenied, TokenInvalid
from headrace.v1 import audit_service_pb2 as audit_pb
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.audit_service_pb2_grpc import AuditServiceStub
from headrace_chassis.identity.caller import ADMIN, USER

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def controller(site: Site, tmp_path: Path) -> Replica:
    return await site.replica(audit={"file": str(tmp_path / "audit.jsonl"), "kept": 1000})


@pytest.fixture
async def ask(controller: Replica) -> AsyncIterator[Ask]:
    """Lists records as somebody; "" is nobody."""
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:

        async def ask(user: str, *roles: str, **fields: Any) -> Any:
            metadata = (("authorization", f"Bearer {token(user, *roles)}"),) if user else ()
            request = audit_pb.ListAuditRecordsRequest(**fields)
            return await AuditServiceStub(channel).ListAuditRecords(request, metadata=metadata, timeout=60)  # pyright: ignore[reportGeneralTypeIssues]

        yield ask


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    file = tmp_path / "audit.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def recorded(tmp_path: Path, method: str) -> list[dict[str, Any]]:
    return [line for line in lines(tmp_path) if line["method"] == f"ClusterService.{method}"]


async def test_a_change_says_who_did_what_for_whom(
    ann: User, admin: User, ask: Ask, tmp_path: Path, eventually: Eventually
) -> None:
    name = (await ann.create()).name
    await ann.scale(name, 1)
    await admin.stop(name)
    await eventually(lambda: recorded(tmp_path, "StopCluster"))
    [created], [scaled], [stopped] = (
        recorded(tmp_path, one) for one in ("CreateCluster", "ScaleCluster", "StopCluster")
    )
    assert (created["caller"], created["role"], created["target"]) == ("users/ann", "owner", name)
    assert scaled["detail"] == "ann requested 1 worker in group 'default'."
    assert stopped["detail"] == "Stop requested by admin root for ann."
    assert {key: stopped[key] for key in ("caller", "owner", "role", "target", "source", "service")} == {
        "caller": "users/root",
        "owner": "users/ann",
        "role": "admin",
        "target": name,
        "source": "local",
        "service": "controller",
    }

    async def found() -> list[tuple[str, str, str]]:
        records = (await ask("root", ADMIN, owner="users/ann", method="StopCluster")).records
        return [(one.caller, one.target, one.code) for one in records]

    await eventually(found)  # it is written to the store on its own
    assert await found() == [("users/root", name, "OK")]


async def test_reads_are_recorded_if_they_are_about_anothers(
    controller: Replica, ann: User, bob: User, admin: User, tmp_path: Path, eventually: Eventually
) -> None:
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW])
    name = (await ann.create(request={"shares": [share]})).name
    stranger = await controller.user("eve")
    for user in (ann, bob, admin):
        await user.get(name)
        await user.call("ListWorkers", pb.ListWorkersRequest(parent=name))
        stream = user.stream("WatchClusters", pb.WatchClustersRequest(name=name))
        await stream.read()
        stream.cancel()
    await fails(ClusterNotFound, stranger.get(name))
    await fails(PermissionDenied, bob.scale(name, 1))
    await admin.call("ListClusters", pb.ListClustersRequest(filter=pb.ClusterFilter(owner="users/-")))
    await ann.call("ListClusters", pb.ListClustersRequest())
    await fails(
        PermissionDenied, bob.call("ListClusters", pb.ListClustersRequest(filter=pb.ClusterFilter(owner="users/ann")))
    )
    await eventually(lambda: len(recorded(tmp_path, "ListClusters")) == 2)
    for method in ("GetCluster", "ListWorkers", "WatchClusters"):
        who = [(line["caller"], line.get("role"), line.get("code")) for line in recorded(tmp_path, method)]
        seen = [("users/bob", "shared", None), ("users/root", "admin", None)]
        assert who == ([*seen, ("users/eve", None, "NOT_FOUND")] if method == "GetCluster" else seen)
    [refused] = recorded(tmp_path, "ScaleCluster")
    assert (refused["caller"], refused["code"], refused["target"]) == ("users/bob", "PERMISSION_DENIED", name)
    assert refused["role"] == "shared"  # and no stranger
    [everything, forbidden] = recorded(tmp_path, "ListClusters")
    assert (everything["caller"], everything["owner"], everything["role"]) == ("users/root", "users/-", "admin")
    assert (forbidden["caller"], forbidden["code"]) == ("users/bob", "PERMISSION_DENIED")


async def test_of_a_batch_each_cluster_is_recorded(
    ann: User, admin: User, tmp_path: Path, eventually: Eventually
) -> None:
    names = {(await ann.create()).name for _ in range(2)}
    await admin.call("BatchStopClusters", pb.BatchStopClustersRequest(filter=pb.ClusterFilter(owner="users/ann")))
    await eventually(lambda: len(recorded(tmp_path, "BatchStopClusters")) == 2)
    assert {line["target"] for line in recorded(tmp_path, "BatchStopClusters")} == names
    await ann.call("BatchStopClusters", pb.BatchStopClustersRequest(names=["clusters/" + "c" + "a" * 19]))
    await eventually(lambda: len(recorded(tmp_path, "BatchStopClusters")) == 3)
    assert recorded(tmp_path, "BatchStopClusters")[-1]["code"] == "NOT_FOUND"


async def test_nobody_but_admins_reads_it(ask: Ask) -> None:
    await fails(TokenInvalid, ask(""))
    await fails(PermissionDenied, ask("ann", USER))
    await ask("root", ADMIN)


async def test_pages_and_filters(ann: User, bob: User, ask: Ask, redis: Redis) -> None:
    for user in (ann, ann, ann, bob):
        await user.create()
    await redis.xadd("{test}:audit", {"record": "no JSON"})

    async def count(**fields: Any) -> int:
        found, page_token = 0, ""
        while True:
            answer = await ask("root", ADMIN, page_size=2, page_token=page_token, method="CreateCluster", **fields)
            assert len(answer.records) <= 2
            found += len(answer.records)
            if not (page_token := answer.next_page_token):
                return found

    while await count() < 4:  # they are written soon
        pass
    assert await count(caller="users/ann") == 3
    assert await count(owner="users/bob") == 1
    assert await count(failed=True) == 0
    assert await count(since={"seconds": 2_000_000_000}) == 0
    assert await count(until={"seconds": 2_000_000_000}) == 4
    assert await count(until={"seconds": 1_000_000_000}) == 0
    assert await count(token="t1") == 0
    assert await wrong_fields(ask("root", ADMIN, since={"seconds": 2**62})) == {"since"}
    assert await wrong_fields(ask("root", ADMIN, until={"seconds": 2**62})) == {"until"}
    assert await wrong_fields(ask("root", ADMIN, method="x" * 1000)) == {"method"}
    assert await wrong_fields(ask("root", ADMIN, page_token="eA")) == {"page_token"}


async def test_what_users_write_is_bounded(ann: User, tmp_path: Path, eventually: Eventually) -> None:
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError):
            await ann.scale("clusters/" + "x" * 200_000, 1)
    await eventually(lambda: len(lines(tmp_path)) == 2)
    assert all(len(json.dumps(line)) < 2000 for line in lines(tmp_path))
