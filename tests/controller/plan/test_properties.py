"""Whatever happens to a cluster, the plan brings it to what is wanted, and never does what it must not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.controller.builders import SCHEDULER_ADDRESS, WORKER_ADDRESS, exited_process, process
from tests.controller.plan.deciding import conditions

from headrace.v1.enums import ConditionStatus, ConditionType, ExitCause, WaitReason
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus
from headrace_controller.model import (
    AdaptRange,
    Backoff,
    Cluster,
    ClusterId,
    Departure,
    EndReason,
    Group,
    Phase,
    Report,
    Spec,
    Status,
    UserId,
    WorkerId,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.plan import (
    Action,
    Decision,
    FetchLogTail,
    Policy,
    RouteState,
    Seen,
    StartError,
    StartProcesses,
    StopAll,
    StopProcesses,
    plan,
)
from headrace_controller.plan.counts import count_workers

POLICY = Policy(start_timeout=60, worker_start_timeout=20, scheduler_lost=30, ended_workers_kept=5)
ENOUGH_STEPS = 60
LIVE = {Phase.STARTING, Phase.RUNNING}


def new_id(group: str, n: int) -> WorkerId:
    return WorkerId(f"{group}-{n}-abcdef")


class World:
    """A backend that launches what it is asked to, and an agent that follows instructions; the plan between them."""

    def __init__(self, cluster: Cluster, processes: dict[str, ProcessStatus] | None = None) -> None:
        self.now = 1000.0
        self.cluster = cluster
        self.processes = processes or {}
        self.log_tail: dict[str, str] = {}
        self.refusing: ExitCause | None = None
        self.start_errors: dict[str | None, StartError] = {}

    # What the plan must never do, whatever is seen.

    def plan(self) -> Decision:
        seen = Seen(
            processes=dict(self.processes),
            route=RouteState(routed=bool(self.cluster.report.scheduler_address)),
            log_tail=self.log_tail,
            start_errors=dict(self.start_errors),
        )
        before = self.cluster
        decision = plan(before, seen, self.now, POLICY, new_id)
        self.check(before, decision)
        after = replace(before, status=decision.status, workers=decision.workers)
        again = plan(after, seen, self.now, POLICY, new_id)
        assert again.status is decision.status
        assert again.workers is decision.workers
        assert started(again.actions) <= started(decision.actions)
        assert stopped(again.actions) <= stopped(decision.actions)
        assert again.events == ()
        self.cluster = after
        self.forget_recorded_losses()
        self.carry_out(decision.actions)
        return decision

    def check(self, before: Cluster, decision: Decision) -> None:
        workers = decision.workers
        for name, record in before.workers.items():
            if workers.get(name) == record:
                assert workers[name] is record
        if before.spec.stop or before.status.phase not in LIVE:
            assert not started(decision.actions)
        if decision.status.phase not in LIVE or any(isinstance(action, FetchLogTail) for action in decision.actions):
            return
        for count in count_workers(replace(before, workers=workers)).values():
            assert count.surplus_pending == 0
        leaving = {name for name, seen in self.processes.items() if seen.leaving is not None}
        assert not any(workers[WorkerId(name)].state.alive for name in leaving & workers.keys())
        for name in stopped(decision.actions) & set(before.report.joined):
            if (record := before.workers.get(WorkerId(name))) and record.state is WorkerState.RUNNING:
                assert name in before.report.retired
        ended = [w for w in workers.values() if w.state.ended and w.id not in decision.status.losses]
        assert len(ended) <= POLICY.ended_workers_kept

    def forget_recorded_losses(self) -> None:
        """As the agent's session does."""
        departures = self.cluster.report.departures
        kept = {name: d for name, d in departures.items() if name in self.cluster.status.losses}
        self.report(departures=kept)

    def carry_out(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, StartProcesses):
                self.start(action.processes)
        for name in self.processes if StopAll() in actions else stopped(actions):
            self.exit(name, 0)
        for action in actions:
            if isinstance(action, FetchLogTail):
                self.log_tail[action.process] = "the end"

    def start(self, names: tuple[str, ...]) -> None:
        record = self.cluster.workers.get(WorkerId(names[0]))
        group = record.group if record else None
        if self.refusing is not None:
            self.start_errors[group] = StartError("no", self.now + 1, self.refusing, frozenset(names))
            return
        self.start_errors.pop(group, None)
        for name in names:
            self.processes.setdefault(name, process(name))

    # What happens outside.

    def report(self, **changes: Any) -> None:
        report: Report = replace(self.cluster.report, **changes)
        self.cluster = replace(self.cluster, report=report)

    def alive(self, name: str) -> bool:
        return name in self.processes and self.processes[name].state is not ProcessState.EXITED

    def exit(self, name: str, code: int, cause: ExitCause = ExitCause.EXITED) -> None:
        self.processes[name] = exited_process(name, code, cause)
        self.notice(name)

    def notice(self, name: str) -> None:
        if name in self.cluster.report.joined:
            joined = {worker: address for worker, address in self.cluster.report.joined.items() if worker != name}
            self.report(joined=joined, departures={**self.cluster.report.departures, WorkerId(name): Departure()})
        if name == SCHEDULER and self.cluster.report.connected:
            self.report(connected=False, changed=self.now)

    def connect(self) -> None:
        session = self.cluster.report.session + 1
        joined = {name: address for name, address in self.cluster.report.joined.items() if self.alive(name)}
        self.report(
            joined=joined, session=session, connected=True, changed=self.now, scheduler_address=SCHEDULER_ADDRESS
        )

    def join(self, worker: str) -> None:
        self.report(joined={**self.cluster.report.joined, WorkerId(worker): WORKER_ADDRESS})

    def retire(self, worker: WorkerId) -> None:
        self.notice(worker)
        self.report(retired=self.cluster.report.retired | {worker})

    def run_or_end(self) -> None:
        """What waits runs, what is leaving has left."""
        for name, seen in list(self.processes.items()):
            if seen.state is ProcessState.PENDING:
                self.processes[name] = process(name, runs_since=self.now)
            elif seen.leaving is not None:
                self.exit(name, 0)

    def try_again(self) -> None:
        """What users do after a refusal."""
        if any(backoff.retry_at == math.inf for backoff in self.cluster.status.backoffs.values()):
            self.cluster = replace(self.cluster, generation=self.cluster.generation + 1)

    def behave(self) -> None:
        """All goes well for a moment: processes get ready, the agent follows its instructions."""
        self.now += 3
        self.run_or_end()
        if not self.alive(SCHEDULER):
            return
        if not self.cluster.report.connected:
            self.connect()
        for name in self.processes:
            if name != SCHEDULER and self.alive(name) and name not in self.cluster.report.retired:
                self.join(name)
        for count in count_workers(self.cluster).values():
            running = [
                w.id
                for w in self.cluster.workers.values()
                if w.group == count.group and w.state is WorkerState.RUNNING and w.id in self.cluster.report.joined
            ]
            for worker in running[count.desired :]:
                self.retire(worker)

    def settle(self) -> None:
        """All goes well for long enough that the cluster must become as it is wanted."""
        self.refusing = None
        decision, quiet = self.plan(), 0
        for _ in range(ENOUGH_STEPS):
            self.try_again()
            before = self.cluster
            self.behave()
            decision = self.plan()
            quiet = quiet + 1 if self.cluster == before and not decision.actions else 0
            if quiet == 2 and decision.requeue_at is None:
                break
        status = self.cluster.status
        alive = {name for name in self.processes if self.alive(name)}
        if self.cluster.spec.stop:
            assert status.phase.ended
        if status.phase.ended:
            assert not alive
            assert status.ended is not None
            assert status.reason is not None
            return
        assert status.phase is Phase.RUNNING
        assert not decision.actions
        assert decision.requeue_at is None
        assert status.losses == {}
        wanted = 0
        for group in self.cluster.spec.groups:
            living = {w.id for w in self.cluster.workers.values() if w.group == group.name and w.state.alive}
            assert len(living) == self.cluster.desired(group)
            assert living <= alive
            wanted += len(living)
        assert len(alive) == 1 + wanted
        assert {kind: status for kind, (status, _) in conditions(decision).items()} == dict.fromkeys(
            ConditionType, ConditionStatus.TRUE
        )


def started(actions: tuple[Action, ...]) -> set[str]:
    return {name for action in actions if isinstance(action, StartProcesses) for name in action.processes}


def stopped(actions: tuple[Action, ...]) -> set[str]:
    return {name for action in actions if isinstance(action, StopProcesses) for name in action.processes}


sizes = st.integers(0, 6)


@st.composite
def adapt_ranges(draw: st.DrawFn) -> AdaptRange:
    minimum, maximum = sorted((draw(sizes), draw(sizes)))
    return AdaptRange(minimum=minimum, maximum=maximum)


class PlanMachine(RuleBasedStateMachine):
    """Anything may go wrong at any time and for any time; then all goes well and the plan has to settle."""

    @initialize(size=sizes, small=sizes)
    def new(self, size: int, small: int) -> None:
        spec = Spec(groups=(Group(size=size), Group(name="small", size=small)))
        self.world = World(Cluster(id=ClusterId("c1"), owner=UserId("ann"), created=1000.0, spec=spec))

    @rule()
    def plan_is_made(self) -> None:
        self.world.plan()

    @rule(seconds=st.sampled_from([0.1, 1.0, 25.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def all_goes_well_for_a_moment(self) -> None:
        self.world.behave()

    @rule(size=sizes, adapt=st.none() | adapt_ranges())
    def user_scales(self, size: int, adapt: AdaptRange | None) -> None:
        size = adapt.clamp(size) if adapt else size
        self.change_spec(groups=(Group(size=size, adapt=adapt), *self.world.cluster.spec.groups[1:]))

    @rule(size=sizes)
    def adaptive_scaling_asks(self, size: int) -> None:
        cluster = self.world.cluster
        if adapt := cluster.spec.groups[0].adapt:
            self.world.cluster = replace(cluster, targets={"default": adapt.clamp(size)})

    @rule(size=st.none() | sizes)
    def user_adds_or_removes_a_group(self, size: int | None) -> None:
        added = () if size is None else (Group(name="small", size=size),)
        self.change_spec(groups=(self.world.cluster.spec.groups[0], *added))

    def change_spec(self, **changes: Any) -> None:
        cluster = self.world.cluster
        if not cluster.spec.stop:
            spec = replace(cluster.spec, **changes)
            self.world.cluster = replace(cluster, spec=spec, generation=cluster.generation + 1)

    @precondition(lambda self: self.world.cluster.status.workers_made > 8)
    @rule()
    def user_stops(self) -> None:
        self.change_spec(stop=True)

    @precondition(lambda self: bool(self.world.processes))
    @rule(data=st.data(), code=st.sampled_from([0, 1, -9]), cause=st.sampled_from(ExitCause))
    def process_ends(self, data: st.DataObject, code: int, cause: ExitCause) -> None:
        self.world.exit(data.draw(st.sampled_from(sorted(self.world.processes))), code, cause)

    @precondition(lambda self: bool(self.world.processes))
    @rule(data=st.data(), cause=st.sampled_from(ExitCause))
    def others_are_ending_a_process(self, data: st.DataObject, cause: ExitCause) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.processes)))
        if self.world.processes[name].state is ProcessState.RUNNING:
            self.world.processes[name] = process(name, leaving=cause)

    @precondition(lambda self: bool(self.world.processes))
    @rule(data=st.data(), reason=st.none() | st.sampled_from(WaitReason))
    def a_process_waits(self, data: st.DataObject, reason: WaitReason | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.processes)))
        report = self.world.cluster.report
        if self.world.alive(name) and name not in report.joined and not (name == SCHEDULER and report.session):
            self.world.processes[name] = process(name, ProcessState.PENDING, wait=reason)

    @rule(cause=st.none() | st.sampled_from(ExitCause))
    def the_backend_refuses_what_is_started(self, cause: ExitCause | None) -> None:
        self.world.refusing = cause

    @precondition(lambda self: bool(set(self.world.processes) - {SCHEDULER}))
    @rule(data=st.data())
    def backend_forgets_a_worker(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(set(self.world.processes) - {SCHEDULER})))
        del self.world.processes[name]
        self.world.notice(name)

    @precondition(lambda self: bool(self.world.cluster.report.joined))
    @rule(data=st.data(), retired=st.booleans())
    def worker_leaves(self, data: st.DataObject, retired: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.cluster.report.joined)))
        if retired:
            self.world.retire(name)
        else:
            self.world.notice(name)

    @rule(name=st.sampled_from([f"default-{n}-abcdef" for n in range(1, 5)]))
    def an_unknown_process_appears(self, name: str) -> None:
        self.world.processes.setdefault(f"old-{name}", process(f"old-{name}"))

    @rule()
    def agent_goes_away(self) -> None:
        self.world.report(connected=False, changed=self.world.now)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()


TestPlanMachine = PlanMachine.TestCase
TestPlanMachine.settings = settings(max_examples=50, stateful_step_count=30)

names = st.sampled_from([new_id("default", n) for n in range(1, 9)])
records = st.builds(
    WorkerRecord,
    id=st.none(),
    group=st.sampled_from(["default", "removed"]),
    state=st.sampled_from(WorkerState),
    created=st.floats(0, 2000),
    since=st.floats(0, 2000),
    joined=st.booleans(),
)
backoffs = st.builds(Backoff, failures=st.integers(1, 4), retry_at=st.floats(0, 1030), message=st.just("why"))
statuses = st.builds(
    Status,
    phase=st.sampled_from([Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.STOPPED, Phase.FAILED]),
    workers_made=st.just(8),
    backoffs=st.dictionaries(st.just("default"), backoffs),
    losses=st.dictionaries(names, st.floats(0, 1000)),
    scheduler_created=st.none() | st.floats(0, 1000),
    started=st.none() | st.floats(0, 1000),
    ended=st.just(900.0),
    reason=st.sampled_from(EndReason),
)
worker_tables = st.dictionaries(names, records).map(lambda found: {n: replace(r, id=n) for n, r in found.items()})
reports = st.builds(
    Report,
    session=st.integers(0, 2),
    connected=st.booleans(),
    changed=st.floats(0, 1000),
    scheduler_address=st.sampled_from(["", SCHEDULER_ADDRESS]),
    joined=st.dictionaries(names, st.just(WORKER_ADDRESS)),
    retired=st.frozensets(names),
    departures=st.dictionaries(names, st.builds(Departure)),
)
process_tables = st.dictionaries(st.just(SCHEDULER) | names, st.sampled_from(ProcessState)).map(
    lambda found: {n: exited_process(n) if s is ProcessState.EXITED else process(n, s) for n, s in found.items()}
)


@given(status=statuses, workers=worker_tables, report=reports, processes=process_tables, size=sizes, stop=st.booleans())
@settings(max_examples=200)
def test_from_any_state_it_comes_to_what_is_wanted(
    status: Status,
    workers: dict[WorkerId, WorkerRecord],
    report: Report,
    processes: dict[str, ProcessStatus],
    size: int,
    stop: bool,
) -> None:
    cluster = Cluster(
        id=ClusterId("c1"),
        owner=UserId("ann"),
        created=0.0,
        spec=Spec(groups=(Group(size=size),), stop=stop),
        status=status,
        workers=workers,
        report=report,
        generation=3,
    )
    world = World(cluster, processes)
    if not world.alive(SCHEDULER) or not report.session or not report.scheduler_address:
        world.report(connected=False)
    else:
        world.report(joined={name: address for name, address in report.joined.items() if world.alive(name)})
    world.settle()
