"""Several backends as one: what each does, and what one that fails does not do to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from tests.backends.contract import BackendContract, MakeBackend
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine
from tests.backends.processes import BACKEND, new_cluster, promised, spec, status, text, until_running
from tests.conftest import Eventually

from headrace.v1.enums import ExitCause
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus
from headrace_controller.backends.router import BackendRouter


class TestRouterContract(BackendContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        machine, other = FakeMachine(), FakeMachine()
        backends = {"other": FakeBackend(other), BACKEND: FakeBackend(machine)}

        def make() -> Backend:
            backends.update(other=FakeBackend(other), **{BACKEND: FakeBackend(machine)})
            return BackendRouter(dict(backends), lambda _cluster: BACKEND)

        return make


class Deployment:
    """Two machines, their router, and the backends of clusters with a record."""

    def __init__(self) -> None:
        self.machines = {"one": FakeMachine(), "two": FakeMachine()}
        self.records: dict[str, str] = {}
        self.router = BackendRouter(self.backends(), self.records.get)

    def backends(self) -> Mapping[str, Backend]:
        return {name: FakeBackend(machine) for name, machine in self.machines.items()}

    async def start(self, name: str, process: str = SCHEDULER, *, record: bool = True) -> str:
        cluster = new_cluster()
        if record:
            self.records[cluster] = name
        await self.router.start([spec(cluster, process, backend=name, manifest=name.encode())])
        return cluster


@pytest.fixture
async def deployment() -> AsyncIterator[Deployment]:
    deployment = Deployment()
    await deployment.router.open()
    yield deployment
    await deployment.router.close()


async def changed(changes: AsyncIterator[ProcessStatus], cluster: str) -> ProcessStatus:
    async with promised(0):
        while (change := await anext(changes)).key.cluster != cluster:
            continue
    return change


async def test_each_process_runs_on_the_backend_of_its_profile(deployment: Deployment) -> None:
    one, two = await deployment.start("one"), await deployment.start("two")
    assert deployment.machines["one"].names(one) == deployment.machines["two"].names(two) == [SCHEDULER]
    assert {s.key.cluster for s in await deployment.router.observe()} == {one, two}
    await deployment.router.stop(one)
    assert (await status(deployment.router, one)).state is ProcessState.EXITED
    assert (await status(deployment.router, two)).state is ProcessState.RUNNING
    assert await text(deployment.router, two) == "up\n"


async def test_one_start_may_be_for_several_backends(deployment: Deployment) -> None:
    clusters = {name: new_cluster() for name in ("one", "two")}
    await deployment.router.start([spec(cluster, SCHEDULER, backend=name) for name, cluster in clusters.items()])
    for name, cluster in clusters.items():
        assert deployment.machines[name].running(cluster) == [SCHEDULER]


async def test_a_cluster_without_record_is_found_by_its_processes(deployment: Deployment) -> None:
    orphan = await deployment.start("two", record=False)
    await deployment.router.stop(orphan)
    assert not deployment.machines["two"].running(orphan)
    assert orphan not in deployment.machines["one"].stops
    await deployment.router.forget(orphan)
    assert await deployment.router.observe(orphan) == []


async def test_a_backend_that_the_deployment_does_not_have_is_named(deployment: Deployment) -> None:
    with pytest.raises(BackendError, match="no backend 'three' in this deployment; there are one, two") as raised:
        await deployment.start("three")
    assert raised.value.cause is ExitCause.REFUSED
    assert deployment.router.observed(next(iter(deployment.records)))  # so that its cluster can fail
    with pytest.raises(BackendError, match="no backend 'three'"):
        await deployment.router.stop(next(iter(deployment.records)))


async def test_networks_are_those_of_the_clusters_backend(deployment: Deployment) -> None:
    cluster = await deployment.start("two")
    assert deployment.router.network(cluster, SCHEDULER) is deployment.machines["two"].network
    with pytest.raises(BackendError, match="no record and no processes"):
        deployment.router.network(new_cluster(), SCHEDULER)


async def test_it_promises_what_all_promise(deployment: Deployment) -> None:
    assert deployment.router.capabilities == FakeBackend.capabilities


async def test_manifests_are_merged(deployment: Deployment) -> None:
    one, two = await deployment.start("one"), await deployment.start("two")
    assert await deployment.router.manifests() == {one: b"one", two: b"two"}
    await deployment.router.update_manifest(two, b"new")
    assert await deployment.router.manifest(two) == b"new"


async def test_a_backend_that_fails_does_not_keep_the_others_from_working(deployment: Deployment) -> None:
    one, two = await deployment.start("one"), await deployment.start("two")
    changes = deployment.router.changes()
    deployment.machines["one"].trouble = "the disk is full"
    assert {s.key.cluster for s in await deployment.router.observe()} == {one, two}  # the last known of "one"
    assert list(await deployment.router.manifests()) == [two]
    for call in (deployment.router.stop(one), deployment.router.manifest(one), deployment.router.observe(one)):
        with pytest.raises(BackendError, match="the disk is full"):
            await call
    deployment.machines["two"].exit(two, code=3)
    assert (await changed(changes, two)).exit_code == 3
    await deployment.router.stop(two)


async def test_a_start_that_fails_on_one_backend_is_made_on_the_others(deployment: Deployment) -> None:
    deployment.machines["one"].trouble = "the disk is full"
    one, two = new_cluster(), new_cluster()
    with pytest.raises(BackendError, match="the disk is full"):
        await deployment.router.start([spec(one, SCHEDULER, backend="one"), spec(two, SCHEDULER, backend="two")])
    assert deployment.machines["two"].running(two) == [SCHEDULER]


async def test_a_backend_that_cannot_be_opened_is_opened_later(eventually: Eventually) -> None:
    deployment = Deployment()
    before = deployment.backends()["one"]
    await before.open()
    cluster = new_cluster()
    await before.start([spec(cluster, SCHEDULER)])
    deployment.machines["one"].trouble = "no credentials"
    deployment.records[cluster] = "one"
    router = deployment.router
    await router.open()
    two = await deployment.start("two")
    assert router.observed(two)
    assert not router.observed(cluster)
    assert not router.observed("c-unknown")
    with pytest.raises(BackendError, match="backend one: no credentials"):
        await router.stop(cluster)
    assert [s.key.cluster for s in await router.observe()] == [two]

    changes = router.changes()
    deployment.machines["one"].trouble = ""
    assert (await changed(changes, cluster)).state is ProcessState.RUNNING
    await eventually(lambda: router.observed(cluster))
    await router.stop(cluster)
    await router.close()
    await before.close()


async def test_without_any_usable_backend_it_cannot_be_opened() -> None:
    deployment = Deployment()
    for machine in deployment.machines.values():
        machine.trouble = "no credentials"
    with pytest.raises(BackendError, match="no credentials"):
        await deployment.router.open()


class Flaky(FakeBackend):
    """A backend whose changes break off, and which sees nothing meanwhile."""

    def __init__(self, machine: FakeMachine) -> None:
        super().__init__(machine)
        self.breaks: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def changes(self) -> AsyncIterator[ProcessStatus]:
        if not self.breaks.done():
            raise await self.breaks
        async for change in super().changes():
            yield change


@pytest.mark.parametrize("failure", [BackendError("connection lost"), RuntimeError("a fault in the backend")])
async def test_what_happened_while_changes_were_broken_off_is_reported_afterwards(failure: Exception) -> None:
    machine = FakeMachine()
    flaky = Flaky(machine)
    router = BackendRouter({"flaky": flaky}, lambda _cluster: "flaky")
    started = FakeBackend(machine)
    exited, vanished, appeared = new_cluster(), new_cluster(), new_cluster()
    await started.start([spec(exited, SCHEDULER), spec(vanished, SCHEDULER)])
    await router.open()
    changes = router.changes()
    machine.exit(exited, code=3)
    await started.start([spec(appeared, SCHEDULER)])
    machine.forget(vanished)
    flaky.breaks.set_result(failure)
    seen = {(change := await anext(changes)).key.cluster: change for _ in range(3)}
    assert seen[exited].exit_code == 3
    assert seen[appeared].state is ProcessState.RUNNING
    assert (seen[vanished].state, seen[vanished].exit_cause) == (ProcessState.EXITED, ExitCause.EXITED)
    assert "could not be observed" in seen[vanished].message
    await router.close()


async def test_a_change_during_an_observation_is_not_overwritten_by_it() -> None:
    machine = FakeMachine()

    class Slow(FakeBackend):
        """Observes slowly."""

        def __init__(self) -> None:
            super().__init__(machine)
            self.seen, self.proceed = asyncio.Event(), asyncio.Event()
            self.proceed.set()

        async def observe(self, cluster: str | None = None) -> list[ProcessStatus]:
            found = list(await super().observe(cluster))
            self.seen.set()
            await self.proceed.wait()
            return found

    slow, cluster = Slow(), new_cluster()
    router = BackendRouter({BACKEND: slow}, lambda _cluster: BACKEND)
    await router.open()
    await router.start([spec(cluster, SCHEDULER)])
    await until_running(FakeBackend(machine), cluster)
    slow.seen.clear()
    slow.proceed.clear()
    observing = asyncio.ensure_future(router.observe())
    await slow.seen.wait()
    changes = router.changes()
    machine.exit(cluster, code=3)
    assert (await changed(changes, cluster)).exit_code == 3
    slow.proceed.set()
    assert [s.exit_code for s in await observing] == [3]
    await router.close()
