"""Every public RPC of the controller, found in the contract, for everybody: owner, shared with, operator, stranger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from tests.controller.running import Replica, Site, token

from headrace.access import CLUSTER_RIGHTS, Access, Share, may
from headrace.v1 import (
    audit_service_pb2,
    cluster_pb2,
    cluster_service_pb2,
    culling_service_pb2,
    limits_service_pb2,
    options_service_pb2,
    policy_service_pb2,
    usage_service_pb2,
)
from headrace.v1.enums import Right
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import ADMIN, USER, Caller
from headrace_chassis.identity.rights import right_of
from headrace_chassis.identity.seal import read_deployment_keys
from headrace_chassis.routes import share_messages

FILES = (
    audit_service_pb2,
    cluster_service_pb2,
    culling_service_pb2,
    limits_service_pb2,
    options_service_pb2,
    policy_service_pb2,
    usage_service_pb2,
)
ADMINS_ONLY = {
    "ListAuditRecords",
    "ShowPolicy",
    "DiffPolicy",
    "SetLimitExceptions",
    "ListLimitExceptions",
    "RemoveLimitExceptions",
}
POLICY = "roles: {operators: {astro: [users/olga, groups/staff], art: [users/bob]}}"
REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND"}


@dataclass(frozen=True)
class Person:
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = (USER,)
    shared: tuple[Right, ...] = ()
    member: str = ""
    expired: bool = False
    may_do: frozenset[Right] = field(default=frozenset())


VIEW, CONNECT, SCALE, STOP, MANAGE = (
    Right.CLUSTER_VIEW,
    Right.CLUSTER_CONNECT,
    Right.CLUSTER_SCALE,
    Right.CLUSTER_STOP,
    Right.CLUSTER_MANAGE,
)
ALL = frozenset({VIEW, CONNECT, SCALE, STOP, MANAGE})
PEOPLE = {
    "ann": Person(groups=("astro",), may_do=ALL),
    "root": Person(roles=(ADMIN, USER), may_do=ALL),
    "vera": Person(shared=(VIEW,), may_do=frozenset({VIEW})),
    "carl": Person(shared=(CONNECT,), may_do=frozenset({VIEW, CONNECT})),
    "sue": Person(shared=(SCALE,), may_do=frozenset({VIEW, SCALE})),
    "tom": Person(shared=(STOP,), may_do=frozenset({VIEW, STOP})),
    "gina": Person(
        groups=("lab",), member="groups/lab", shared=(CONNECT, STOP), may_do=frozenset({VIEW, CONNECT, STOP})
    ),
    "eddy": Person(shared=(VIEW, CONNECT, SCALE, STOP), expired=True),
    "olga": Person(may_do=frozenset({VIEW, SCALE, STOP})),
    "stan": Person(groups=("staff",), may_do=frozenset({VIEW, SCALE, STOP})),
    "bob": Person(),
    "astrid": Person(groups=("astro",)),
}
SHARES = [
    Share(person.member or f"users/{name}", frozenset(person.shared), 1000.0 if person.expired else None)
    for name, person in PEOPLE.items()
    if person.shared
]
ACCESS = Access("ann", ("astro",), tuple(SHARES), (frozenset({"users/olga", "groups/staff"}),))


def methods() -> Iterable[MethodDescriptor]:
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def right(method: MethodDescriptor) -> Right:
    found = right_of(f"/{method.containing_service.full_name}/{method.name}")
    assert found is not None
    return found


ON_CLUSTERS = [method for method in methods() if right(method) in CLUSTER_RIGHTS]
OTHERS = [method for method in methods() if right(method) not in CLUSTER_RIGHTS]


class Calls:
    """Calls any method as anybody."""

    def __init__(self, site: Site, controller: Replica, channel: grpc.aio.Channel) -> None:
        keys = read_deployment_keys(controller.settings.deployment_key_file)
        self._agents = AgentTokens(keys, controller.settings.deployment)
        self._channel = channel
        self.site = site

    def metadata(self, who: str, cluster: str = "c1") -> tuple[tuple[str, str], ...]:
        match who:
            case "nobody":
                return ()
            case "agent":
                return (("authorization", f"Agent {self._agents.credential(cluster, 'scheduler', 60)}"),)
            case _:
                person = PEOPLE[who]
                return (("authorization", f"Bearer {token(who, *person.roles, groups=person.groups)}"),)

    async def code(self, method: MethodDescriptor, request: Any, who: str, cluster: str = "c1") -> str:
        """Return the status code of a call; of a stream, of its first answer."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        answer = GetMessageClass(method.output_type)
        arguments: dict[str, Any] = {"metadata": self.metadata(who, cluster), "timeout": 60}
        serialize, read = request.SerializeToString, answer.FromString
        try:
            if method.server_streaming:
                stream = self._channel.unary_stream(path, lambda _: serialize(), read)(request, **arguments)
                await stream.read()
                stream.cancel()
            else:
                await self._channel.unary_unary(path, lambda _: serialize(), read)(request, **arguments)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def create(self) -> str:
        request = cluster_service_pb2.CreateClusterRequest(shares=share_messages(SHARES))
        create = self._channel.unary_unary(
            "/headrace.v1.ClusterService/CreateCluster",
            cluster_service_pb2.CreateClusterRequest.SerializeToString,
            cluster_pb2.Cluster.FromString,
        )
        made: Any = await create(request, metadata=self.metadata("ann"), timeout=60)
        return str(made.name)


@pytest.fixture
async def calls(site: Site, tmp_path: Path) -> AsyncIterator[Calls]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    controller = await site.replica(policy_file=tmp_path / "policy.yaml")
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        yield Calls(site, controller, channel)


def about(method: MethodDescriptor, cluster: str) -> Any:
    """Return a request about a cluster that is right as far as it is checked before the right is."""
    request: Any = GetMessageClass(method.input_type)()
    fields = {one.name for one in method.input_type.fields}
    target = request.cluster if "cluster" in fields else request
    if "update_mask" in fields:
        request.update_mask.paths.append("spec.tags")
    if "duration" in fields:
        request.duration.seconds = 60
    setattr(target, "parent" if "parent" in fields else "name", cluster)
    return request


def test_the_rule_is_what_the_table_says() -> None:
    for name, person in PEOPLE.items():
        caller = Caller(name, person.groups, frozenset(person.roles))
        assert {one for one in ALL if may(caller, one, ACCESS, now=2000.0)} == person.may_do, name


def test_each_service_is_in_the_list() -> None:
    import headrace.v1

    names = {file.stem for file in Path(headrace.v1.__path__[0]).glob("*_service_pb2.py")}
    assert {file.__name__.rpartition(".")[2] for file in FILES} | {"auth_service_pb2"} == names


@pytest.mark.parametrize("method", ON_CLUSTERS, ids=lambda method: method.name)
async def test_each_rpc_about_a_cluster_for_everybody(calls: Calls, method: MethodDescriptor) -> None:
    needed = right(method)
    name = await calls.create()
    for who in ("nobody", "agent"):
        assert await calls.code(method, about(method, name), who, name.removeprefix("clusters/")) == "UNAUTHENTICATED"
    # Those who may do it come last: they may stop it.
    for who, person in sorted(PEOPLE.items(), key=lambda item: needed in item[1].may_do):
        code = await calls.code(method, about(method, name), who)
        if not person.may_do:
            assert code == "NOT_FOUND", who
        elif needed not in person.may_do:
            assert code == "PERMISSION_DENIED", who
        else:
            assert code not in REFUSED, who


@pytest.mark.parametrize("method", OTHERS, ids=lambda method: method.name)
async def test_each_other_rpc_for_everybody(calls: Calls, method: MethodDescriptor) -> None:
    request = GetMessageClass(method.input_type)()
    for who in ("nobody", "agent"):
        assert await calls.code(method, request, who) == "UNAUTHENTICATED"
    for who in PEOPLE:
        code = await calls.code(method, request, who)
        refused = code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}
        assert refused is (method.name in ADMINS_ONLY and who != "root"), f"{who}: {code}"
