"""Whatever happens: nothing is culled that worked, was not measured, was not warned, or was kept."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.controller.builders import running_cluster
from tests.controller.plan.deciding import decide

from headrace.v1.enums import EventType
from headrace_controller.culling.observed import Observed, first, of_another
from headrace_controller.culling.rules import findings
from headrace_controller.model import EndReason, Phase
from headrace_controller.policy.sections import Culling, CullRule, IdleRule
from headrace_controller.signals.measured import Absence, Measured, NotMeasured

AFTER, WARN = 100.0, 30.0
POLICY = Culling(idle=IdleRule(after=AFTER, warn=WARN), nobody_connected=CullRule(after=AFTER, warn=WARN))
AWAY = ("away", "visited", "worked")  # no controller, and what happened meanwhile
HAPPENS = ("works", "idle", "holds", "empty", "connects", "leaves", "stale", "reported", "kept", *AWAY)


class World:
    """A cluster, what is true of it, and since when it could have been culled by each rule."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cluster = running_cluster(status={"started": 1000.0}, report={"idle_since": 1000.0})
        self.idle_since: float | None = 1000.0
        self.active, self.clients, self.held = 1000.0, 0, 0
        self.observed: Observed | None = None
        self.watching_since = 1000.0
        self.next_plan: float | None = None
        self.spoke_against = {EndReason.IDLE: 1000.0, EndReason.NO_CLIENT: 1000.0}
        self.sampled = 1000.0
        self.unwatched: list[tuple[float, float]] = []

    def let(self, what: str) -> None:
        """Something happens; the agent reports it at once. A sample is taken, unless the work is "reported" only."""
        if what in AWAY:
            self._stay_away(what)
        self._in_the_scheduler(what)
        report = replace(self.cluster.report, idle_since=self.idle_since, clients=self.clients)
        self.cluster = replace(self.cluster, report=report)
        if what == "kept":
            self.cluster = replace(self.cluster, spec=replace(self.cluster.spec, keep_until=self.now + 200))
        if what != "reported":
            self.measure(fresh=what != "stale")
        self._note()

    def _stay_away(self, what: str) -> None:
        """No controller for a while; the next one goes on from what the last one observed."""
        marks = self.observed.marks if self.observed else None
        self.observed = of_another(marks) if marks else None
        self.now = self.watching_since = self.now + 500
        if what == "visited":
            self.active = self.spoke_against[EndReason.NO_CLIENT] = self.now - 1
        if what == "worked" and self.idle_since is not None:
            self.idle_since = self.active = self.spoke_against[EndReason.IDLE] = self.now - 1

    def _in_the_scheduler(self, what: str) -> None:
        if what in {"works", "reported"}:
            self.idle_since = None
        elif what == "idle" and self.idle_since is None:
            self.idle_since = self.active = self.now
        elif what in {"holds", "empty"}:
            self.held = int(what == "holds")
        elif what in {"connects", "leaves"}:
            self.clients, self.active = int(what == "connects"), self.now

    def _note(self) -> None:
        if self.idle_since is None or self.held:
            self.spoke_against[EndReason.IDLE] = self.now
        if self.clients:
            self.spoke_against[EndReason.NO_CLIENT] = self.now

    def measure(self, *, fresh: bool) -> None:
        sample = (
            Measured(
                time=self.now,
                idle_since=self.idle_since,
                active=self.now if self.idle_since is None else self.active,
                clients=self.clients,
                held_tasks=self.held,
            )
            if fresh
            else NotMeasured(absence=Absence.STALE)
        )
        if fresh:
            if self.observed and isinstance(self.observed.sample, NotMeasured):
                self.unwatched.append((self.sampled, self.now))
            self.sampled = self.now
        self.observed = first(sample) if self.observed is None else self.observed.next(sample)

    def run(self, seconds: float) -> bool:
        """Plan whenever the plan asks for it; return whether the cluster goes on."""
        end = self.now + seconds
        while self.plan():
            if self.next_plan is None or self.next_plan > end:
                self.now = end
                return True
            self.now = self.next_plan
            self.measure(fresh=isinstance(self.observed and self.observed.sample, Measured))
        return False

    def plan(self) -> bool:
        assert self.observed is not None
        found = findings(self.cluster, POLICY, self.observed, {}, self.now)
        decision = decide(self.cluster, now=self.now, findings=found, watching_since=self.watching_since)
        assert sum(event.type is EventType.CULLING_WARNED for event in decision.events) <= len(found)
        if decision.status.phase is not Phase.STOPPING:
            self.cluster = replace(self.cluster, status=decision.status)
            self.next_plan = decision.requeue_at
            return True
        self.check_end(decision.status.reason)
        return False

    def check_end(self, reason: EndReason | None) -> None:
        assert reason is not None
        assert self.observed is not None
        assert isinstance(self.observed.sample, Measured)
        against = self.spoke_against[reason]
        unwatched = sum(max(0.0, end - max(begin, against)) for begin, end in self.unwatched)
        assert self.now - against - unwatched >= AFTER - 1e-6
        assert self.now >= (self.cluster.spec.keep_until or 0)
        rule = {EndReason.IDLE: "idle", EndReason.NO_CLIENT: "nobody_connected"}[reason]
        warned = self.cluster.status.warnings[f"{rule}:stop"]
        assert self.now - max(warned, self.watching_since) >= WARN


@given(st.lists(st.tuples(st.floats(0, 150), st.sampled_from([*HAPPENS, "nothing", "nothing", "idle", "leaves"]))))
def test_nothing_is_culled_too_early(steps: list[tuple[float, str]]) -> None:
    world = World()
    world.measure(fresh=True)
    for seconds, what in steps:
        world.let(what)
        if not world.run(seconds):
            return


def test_an_idle_cluster_is_culled_in_the_end() -> None:
    world = World()
    world.measure(fresh=True)
    assert not world.run(1000)
    assert world.now == 1000 + AFTER
