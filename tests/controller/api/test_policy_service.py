"""PolicyService, and what a change of the policy file does to a running controller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
import pytest
import yaml
from tests.controller.errors_of import fails
from tests.controller.replaced import replace_file
from tests.controller.running import Replica, Site
from tests.controller.user import User

from headrace.errors import InvalidRequest, PermissionDenied, QuotaExceeded
from headrace.v1 import cluster_pb2, limits_service_pb2, options_service_pb2, policy_service_pb2_grpc
from headrace.v1 import policy_service_pb2 as pb
from headrace_chassis.policy_document import MAX_BYTES

if TYPE_CHECKING:
    from headrace.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub

POLICY = "profiles: {small: {}, large: {}}\n"
BROKEN = "profiles:\n  small: {backend: slurm}\nlimits: {user: {cores: -1}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


@pytest.fixture
async def replica(site: Site, file: Path) -> Replica:
    return await site.replica(policy_file=file)


async def ask(user: User, replica: Replica, method: str, request: Any) -> Any:
    async with grpc.aio.insecure_channel(replica.endpoint) as channel:
        stub = cast("PolicyServiceAsyncStub", policy_service_pb2_grpc.PolicyServiceStub(channel))
        return await getattr(stub, method)(request, metadata=user.metadata, timeout=60)


async def diff(replica: Replica, policy: str) -> pb.DiffPolicyResponse:
    root = await replica.user("root", "user", "admin")
    return await ask(root, replica, "DiffPolicy", pb.DiffPolicyRequest(policy=policy))


async def show(replica: Replica) -> pb.ShowPolicyResponse:
    root = await replica.user("root", "user", "admin")
    return await ask(root, replica, "ShowPolicy", pb.ShowPolicyRequest())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 the file is polled too
            await asyncio.sleep(0.05)


async def profiles(user: User) -> list[str]:
    listed = await user.ask_options("ListProfiles", options_service_pb2.ListProfilesRequest())
    return [profile.key for profile in listed.profiles]


@pytest.mark.parametrize("method", ["ShowPolicy", "DiffPolicy"])
async def test_only_admins_see_the_policy(replica: Replica, method: str) -> None:
    ann = await replica.user("ann")
    await fails(PermissionDenied, ask(ann, replica, method, getattr(pb, f"{method}Request")()))


async def test_the_policy_in_force_is_shown_whole(replica: Replica, file: Path) -> None:
    shown = await show(replica)
    assert (shown.file, shown.replica, shown.refusal) == (str(file), "a", "")
    assert list(yaml.safe_load(shown.policy)["profiles"]) == ["small", "large"]
    assert shown.effective_time.seconds


async def test_without_a_file_the_policy_is_that_of_the_settings(site: Site) -> None:
    shown = await show(await site.replica(limits={"user": {"clusters": 7}}))
    assert shown.file == ""
    assert yaml.safe_load(shown.policy)["limits"]["user"]["clusters"] == 7


async def test_a_changed_file_binds_without_a_restart_in_each_replica_by_itself(
    site: Site, replica: Replica, file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.yaml"
    replace_file(copy, POLICY)
    other = await site.replica("b", policy_file=copy)
    ann = await replica.user("ann")
    carl = await other.user("carl")
    await ann.create(profile="large")
    replace_file(file, "{profiles: {tiny: {}}, limits: {user: {clusters: 1}}}")
    await until(lambda: has(ann, ["tiny"]))
    assert await profiles(carl) == ["small", "large"]
    await fails(QuotaExceeded, ann.create())
    assert (await carl.create(profile="large")).spec.profile == "large"


async def test_a_broken_file_is_shown_and_the_policy_in_force_stays(replica: Replica, file: Path) -> None:
    replace_file(file, BROKEN)
    await until(lambda: refused(replica))
    shown = await show(replica)
    assert shown.refusal == "line 3: limits.user.cores: Input should be greater than or equal to 0"
    assert shown.refuse_time.seconds
    assert await profiles(await replica.user("ann")) == ["small", "large"]


OFFER = """
from headrace.option_types import Int
from headrace_controller.options.catalogue import Option
def offer(user, groups):
    return [Option(key="{0}", label="", description="", type=Int(), default=0)]
"""


async def test_changed_python_takes_effect_and_a_broken_version_is_shown_and_does_not(
    site: Site, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "site_lab_options.py"
    replace_file(module, OFFER.format("before"))
    policy = "profiles:\n  lab: {python: 'site_lab_options:offer'}\n"
    replace_file(file, policy)
    monkeypatch.syspath_prepend(tmp_path)
    replica = await site.replica(policy_file=file)
    ann = await replica.user("ann")
    assert (await options(ann))[-1] == "before"
    replace_file(module, OFFER.format("after"))
    await until(lambda: offers(ann, "after"))
    replace_file(module, OFFER.format("broken") + "if")
    await until(lambda: refused(replica))
    told = f"line 2: profiles.lab.python: cannot be imported: {module}, line 6: SyntaxError: invalid syntax"
    assert (await show(replica)).refusal == told
    assert [problem.key for problem in (await diff(replica, policy)).problems] == ["profiles.lab.python"]
    assert not (await diff(replica, POLICY)).problems
    assert await offers(ann, "after")


async def test_a_running_cluster_outlives_its_profile(site: Site, replica: Replica, file: Path) -> None:
    ann = await replica.user("ann")
    cluster = await ann.create(profile="large")
    await ann.until(cluster.name, "RUNNING")
    replace_file(file, "profiles: {tiny: {}}")
    await until(lambda: has(ann, ["tiny"]))
    await ann.scale(cluster.name, 2)
    await ann.until(cluster.name, "RUNNING", running=2)


async def test_what_is_wrong_with_another_policy_is_told(replica: Replica) -> None:
    found = await diff(replica, "profiles:\n  small: {backend: slurm}\n")
    [problem] = found.problems
    assert (problem.line, problem.key) == (2, "profiles.small.backend")
    assert "there is no backend 'slurm'" in problem.reason
    assert not found.changes


@pytest.mark.parametrize("policy", ["[" * 100_000, "a: &a [*a]"])
async def test_a_policy_that_would_cost_too_much_is_refused(replica: Replica, policy: str) -> None:
    assert len((await diff(replica, policy)).problems) == 1


async def test_a_policy_may_be_as_large_as_a_file(replica: Replica) -> None:
    found = await diff(replica, POLICY.ljust(MAX_BYTES, "#"))
    assert not found.problems
    assert not found.changes
    [problem] = (await diff(replica, POLICY.ljust(MAX_BYTES + 1, "#"))).problems
    assert problem.reason == "the file has 1048577 bytes; a policy may have at most 1048576"
    error = await fails(InvalidRequest, diff(replica, "#" * 2 * MAX_BYTES))
    assert error.message == "a request may have at most 1049600 bytes, this one has 2097157"


async def test_what_another_policy_would_change_is_told_with_whom_it_affects(replica: Replica) -> None:
    ann = await replica.user("ann")
    clusters = [await ann.create(profile="large") for _ in range(2)]
    found = await diff(replica, "{profiles: {small: {}}, limits: {user: {clusters: 1}}}")
    assert [(one.key, one.before if one.HasField("before") else None) for one in found.changes][-1] == (
        "limits.user.clusters",
        "100",
    )
    assert {(one.key, one.subject, one.owner) for one in found.effects} == {
        ("profiles.large", clusters[0].name, "users/ann"),
        ("profiles.large", clusters[1].name, "users/ann"),
        ("limits.user", "users/ann", ""),
    }
    assert await profiles(ann) == ["small", "large"]
    root = await replica.user("root", "user", "admin")
    exception = limits_service_pb2.SetLimitExceptionsRequest(subject="users/ann", limits={"clusters": "2"})
    await root.ask_limits(exception, "SetLimitExceptions")
    again = await diff(replica, "{profiles: {small: {}}, limits: {user: {clusters: 1}}}")
    assert {one.key for one in again.effects} == {"profiles.large"}


async def test_whose_clusters_another_policy_would_warn_or_stop_is_told(replica: Replica) -> None:
    ann, bob = await replica.user("ann", groups=["lab"]), await replica.user("bob")
    made, other = await ann.create(), await bob.create()
    await ann.until(made.name, "RUNNING")
    found = await diff(
        replica,
        """\
profiles: {small: {}, large: {}}
culling: {lifetime: 0.001}
budgets:
  user: [{per: month, core_hours: 0.0000001, then: stop}, {per: month, core_hours: 1000}]
  users: {bob: []}
  groups: {lab: [{per: day, core_hours: 0.0000001, then: warn}]}
""",
    )
    told = {(one.key, one.subject, one.owner): one.message for one in found.effects}
    assert told.keys() == {
        ("budgets.user", "users/ann", ""),
        ("budgets.groups.lab", "groups/lab", ""),
        ("budgets", made.name, "users/ann"),
        ("culling.lifetime", made.name, "users/ann"),
        ("culling.lifetime", other.name, "users/bob"),
        ("culling", "deployment", ""),
    }
    used_up = "The budget of users/ann of 1e-07 core-hours for the month is used up. Clusters are stopped."
    assert told["budgets.user", "users/ann", ""].startswith(used_up)
    stopped = "is warned at once, and stopped in 1 min, because the budget of users/ann"
    assert told["budgets", made.name, "users/ann"].startswith(stopped)
    assert (await ann.get(made.name)).status.phase == cluster_pb2.PHASE_RUNNING


async def options(user: User) -> list[str]:
    listed = await user.ask_options("ListOptions", options_service_pb2.ListOptionsRequest())
    return [option.key for option in listed.options]


async def offers(user: User, option: str) -> bool:
    return option in await options(user)


async def has(user: User, expected: list[str]) -> bool:
    return await profiles(user) == expected


async def refused(replica: Replica) -> bool:
    return bool((await show(replica)).refusal)
