"""What brings clusters to the state of their records."""

from __future__ import annotations

from functools import cached_property

from headrace_chassis.traces import tracing_of
from headrace_controller.culling.scaling import ScalingToZero
from headrace_controller.model import Resources
from headrace_controller.parts.base import BaseParts
from headrace_controller.parts.tenancy import TenancyParts
from headrace_controller.plan import Policy
from headrace_controller.reconciling.adoption import Adoption
from headrace_controller.reconciling.agent_authority import AgentAuthority
from headrace_controller.reconciling.executor import Executor
from headrace_controller.reconciling.launch_specs import LaunchSpecs
from headrace_controller.reconciling.locating import Locating
from headrace_controller.reconciling.manifest_sync import ManifestSync
from headrace_controller.reconciling.manifests import ManifestSealer
from headrace_controller.reconciling.observer import Observer
from headrace_controller.reconciling.orphans import Orphans
from headrace_controller.reconciling.process_table import ProcessTable
from headrace_controller.reconciling.reconciler import Reconciler
from headrace_controller.reconciling.replica_liveness import ReplicaLiveness
from headrace_controller.reconciling.resync import Resync
from headrace_controller.reconciling.retention import Retention
from headrace_controller.reconciling.route_states import RouteStates
from headrace_controller.reconciling.standby_keeping import StandbyKeeping
from headrace_controller.reconciling.start_errors import StartErrors

_MAX_PAUSE_SECONDS = 60.0  # between two polls for clusters whose retention is over


class ReconcilingParts:
    def __init__(self, base: BaseParts, tenancy: TenancyParts) -> None:
        self._base = base
        self._tenancy = tenancy

    @cached_property
    def processes(self) -> ProcessTable:
        return ProcessTable(self._base.backend, changed=self._base.queue.add, clock=self._base.clock)

    @cached_property
    def locating(self) -> Locating:
        return Locating(self._base.router)

    @cached_property
    def route_states(self) -> RouteStates:
        return RouteStates(self._base.store.routes, wake=self._base.queue.add)

    @cached_property
    def liveness(self) -> ReplicaLiveness:
        return ReplicaLiveness(
            self._base.store.replicas, self._base.replica, wake=self._base.queue.add, clock=self._base.clock
        )

    @cached_property
    def start_errors(self) -> StartErrors:
        return StartErrors(clock=self._base.clock)

    @cached_property
    def observer(self) -> Observer:
        return Observer(
            self.processes,
            self.route_states,
            self.liveness,
            self.start_errors,
            self._base.shards,
            findings=self._tenancy.findings,
            place=self._tenancy.order.place,
            observed=self._base.router.observed,
            obstacle=self._base.router.obstacle,
            contact=self._base.router.contact,
        )

    @cached_property
    def sealer(self) -> ManifestSealer:
        return ManifestSealer(self._base.seal)

    @cached_property
    def manifests(self) -> ManifestSync:
        return ManifestSync(self._base.store.records, self._base.backend, self.sealer)

    @cached_property
    def launch_specs(self) -> LaunchSpecs:
        def scheduler() -> Resources:
            return self._base.current_policy.policy.scheduler.resources()

        return LaunchSpecs(
            self._base.profiles,
            {name: [option.key for option in loaded.options] for name, loaded in self._base.backends.items()},
            self._base.agent_tokens,
            AgentAuthority(self._base.settings.agent_ca_file).pem,
            token_seconds=self._base.settings.agent_token_seconds,
            scheduler=scheduler,
        )

    @cached_property
    def standby_keeping(self) -> StandbyKeeping:
        return StandbyKeeping(self._base.router, self._base.profiles, self.launch_specs)

    @cached_property
    def executor(self) -> Executor:
        return Executor(
            self._base.backend,
            self.launch_specs,
            self.manifests,
            self.start_errors,
            self._base.queue,
            scale_to_zero=ScalingToZero(
                self._base.store, self._base.mirror, self._tenancy.admission, clock=self._base.clock
            ).apply,
        )

    @cached_property
    def adoption(self) -> Adoption:
        return Adoption(
            store=self._base.store,
            mirror=self._base.mirror,
            backend=self._base.backend,
            processes=self.processes,
            sealer=self.sealer,
            admission=self._tenancy.admission,
            clock=self._base.clock,
        )

    @cached_property
    def orphans(self) -> Orphans:
        return Orphans(
            reads=self._base.store.reads,
            mirror=self._base.mirror,
            shards=self._base.shards,
            processes=self.processes,
            adoption=self.adoption,
            executor=self.executor,
            queue=self._base.queue,
            grace=self._base.settings.orphan_grace_seconds,
            clock=self._base.clock,
        )

    @cached_property
    def policy(self) -> Policy:
        return Policy(
            start_timeout=self._base.settings.start_timeout_seconds,
            pending_timeout=self._base.settings.pending_timeout_seconds,
            worker_start_timeout=self._base.settings.worker_start_timeout_seconds,
            scheduler_lost=self._base.settings.scheduler_lost_seconds,
            scheduler_silence=self._base.settings.scheduler_silence_seconds,
            worker_failure_limit=self._base.settings.worker_failure_limit,
        )

    @cached_property
    def reconciler(self) -> Reconciler:
        return Reconciler(
            records=self._base.store.records,
            events=self._base.store.events,
            mirror=self._base.mirror,
            queue=self._base.queue,
            shards=self._base.shards,
            observer=self.observer,
            executor=self.executor,
            manifests=self.manifests,
            unknown=self.orphans.check,
            policy=self.policy,
            clock=self._base.clock,
            tracing=tracing_of(self._base.settings),
        )

    @cached_property
    def resync(self) -> Resync:
        seconds = self._base.settings.resync_seconds
        return Resync(
            self._base.mirror, self._base.shards, self.processes, self.manifests, self._base.queue, seconds=seconds
        )

    @cached_property
    def retention(self) -> Retention:
        return Retention(
            self._base.store,
            self._base.backend,
            self._base.shards,
            retention=self._base.settings.retention_seconds,
            pause=min(_MAX_PAUSE_SECONDS, self._base.settings.resync_seconds),
            clock=self._base.clock,
        )
