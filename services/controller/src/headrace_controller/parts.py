"""The parts of the controller, each with the others that it needs; `app.py` connects them. Nothing else makes them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from secrets import token_hex

from redis.asyncio import Redis

from headrace_chassis.audit.log import AuditLog
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.dashboard_keys import DashboardKeys, MetricsKeys
from headrace_chassis.identity.seal import Seal, read_deployment_keys
from headrace_chassis.redis.keys import Prefix, audit_log
from headrace_chassis.redis.leases import ShardLeases
from headrace_chassis.traces import tracing_of
from headrace_controller.admission import Admission
from headrace_controller.agents.address_checks import AddressChecks
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.agents.agent_service import AgentService
from headrace_controller.agents.enrolment import Enrolment
from headrace_controller.agents.launch_claims import LaunchClaims
from headrace_controller.agents.sessions import Sessions
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.audit_service import AuditService
from headrace_controller.api.batch_stop import BatchStop
from headrace_controller.api.cluster_service import ClusterService
from headrace_controller.api.commands import ClusterCommands
from headrace_controller.api.connecting import Connecting
from headrace_controller.api.culling_service import CullingService
from headrace_controller.api.limits_service import LimitsService
from headrace_controller.api.listing import Listing
from headrace_controller.api.log_reading import LogReading
from headrace_controller.api.options_service import OptionsService
from headrace_controller.api.outlook import Outlook
from headrace_controller.api.policy_service import PolicyService
from headrace_controller.api.usage_service import UsageService
from headrace_controller.api.views import Views
from headrace_controller.api.watching import Watching
from headrace_controller.authorities import Authorities
from headrace_controller.backends.base import Backend
from headrace_controller.backends.registry import LoadedBackend
from headrace_controller.backends.router import BackendRouter
from headrace_controller.config import Settings
from headrace_controller.culling.metric_rules import MetricRules
from headrace_controller.culling.observations import Observations
from headrace_controller.culling.observed import Observed
from headrace_controller.culling.scaling import ScalingToZero
from headrace_controller.culling.watch import CullingWatch
from headrace_controller.keys import Keys
from headrace_controller.mirror import ClusterMirror
from headrace_controller.mirror.tail import Tail
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.options.catalogue import Option
from headrace_controller.plan import Policy
from headrace_controller.plan.findings import Finding
from headrace_controller.policing.fit import check_fit
from headrace_controller.policing.prospects import Prospects
from headrace_controller.policy.current import CurrentPolicy
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.sections import Culling
from headrace_controller.profiles import Profiles
from headrace_controller.queueing.limit_exceptions import LimitExceptions
from headrace_controller.queueing.lowering import Lowering
from headrace_controller.queueing.order import Order
from headrace_controller.queueing.recharging import Recharging
from headrace_controller.queueing.serving import Serving
from headrace_controller.reconciling.adoption import Adoption
from headrace_controller.reconciling.cluster_metrics import ClusterMetrics
from headrace_controller.reconciling.executor import Executor
from headrace_controller.reconciling.launch_specs import LaunchSpecs
from headrace_controller.reconciling.live_schedulers import LiveSchedulers
from headrace_controller.reconciling.manifest_sync import ManifestSync
from headrace_controller.reconciling.manifests import ManifestSealer
from headrace_controller.reconciling.observer import Observer
from headrace_controller.reconciling.orphans import Orphans
from headrace_controller.reconciling.process_table import ProcessTable
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.reconciler import Reconciler
from headrace_controller.reconciling.replica_liveness import ReplicaLiveness
from headrace_controller.reconciling.resync import Resync
from headrace_controller.reconciling.retention import Retention
from headrace_controller.reconciling.route_states import RouteStates
from headrace_controller.reconciling.shards import Shards
from headrace_controller.reconciling.start_errors import StartErrors
from headrace_controller.routes.route_service import RouteService
from headrace_controller.signals.make import make_signals
from headrace_controller.signals.rounds import MeasuredSignals
from headrace_controller.signals.service_discovery import target_groups, worker_target_groups
from headrace_controller.store import RouteLogEntry, Store
from headrace_controller.store.accounts import Accounts, Kept
from headrace_controller.usage.budgets import BudgetWatch
from headrace_controller.usage.measuring import Measuring
from headrace_controller.usage.pricing import Pricing
from headrace_controller.usage.reading import UsageReading

_MAX_PAUSE_SECONDS = 60.0  # between two polls for clusters whose retention is over


class Parts:
    """Makes each part when it is first needed.

    Parameters
    ----------
    waiting
        Connection to Redis for reads that block.
    """

    def __init__(self, settings: Settings, redis: Redis, waiting: Redis, backends: Mapping[str, LoadedBackend]) -> None:
        self.settings = settings
        self.redis = redis
        self.backends = backends
        self.clock = time.time
        # One that was killed and started again under its name holds nothing of what it held before.
        self.replica = f"{settings.replica}/{token_hex(4)}"
        self.prefix = Prefix(settings.deployment)
        self.usage_kept = Kept(
            settings.usage_days, min(settings.usage_days, settings.usage_detail_days), settings.usage_rows
        )
        accounts = Accounts(lambda: self.current_policy.policy, self.usage_kept)
        self.store = Store(redis, Keys(self.prefix), waiting, accounts)
        self.deployment_keys = read_deployment_keys(settings.deployment_key_file)
        self.seal = Seal(self.deployment_keys)

    # Policy

    @property
    def _backend_options(self) -> Mapping[str, Sequence[Option]]:
        return {name: loaded.options for name, loaded in self.backends.items()}

    @cached_property
    def current_policy(self) -> CurrentPolicy[Profiles]:
        def fit(policy: PolicyFile) -> Profiles:
            return check_fit(policy, self._backend_options, self.settings.signals)

        return CurrentPolicy(self.settings.policy_file, self.settings.policy(), fit, clock=self.clock)

    @cached_property
    def profiles(self) -> Profiles:
        return Profiles(self.current_policy.fitted)

    def follow_profiles(self, _policy: PolicyFile) -> None:
        """Take up the profiles of a policy."""
        self.profiles.replace(self.current_policy.fitted)

    # Records

    @cached_property
    def mirror(self) -> ClusterMirror:
        return ClusterMirror(self.store)

    @cached_property
    def admission(self) -> Admission:
        return Admission(
            self.current_policy.policy, self.profiles, self.budgets.check_growth, self.limit_exceptions.apply
        )

    @cached_property
    def limit_exceptions(self) -> LimitExceptions:
        return LimitExceptions(self.store, clock=self.clock)

    @cached_property
    def budgets(self) -> BudgetWatch:
        return BudgetWatch(
            self.store,
            self.mirror,
            policy=lambda: self.current_policy.policy,
            own=self.shards.own,
            wake=self.queue.add_after,
            clock=self.clock,
        )

    @cached_property
    def authorities(self) -> Authorities:
        return Authorities(
            self.store.records.secrets,
            self.seal,
            lifetime=timedelta(seconds=self.settings.authority_seconds),
            certificate_lifetime=timedelta(seconds=self.settings.certificate_seconds),
        )

    # Backends

    @cached_property
    def router(self) -> BackendRouter:
        return BackendRouter({name: loaded.backend for name, loaded in self.backends.items()}, self._backend_of)

    @property
    def backend(self) -> Backend:
        return self.router

    def _backend_of(self, cluster: str) -> str | None:
        record = self.mirror.get(ClusterId(cluster))
        return None if record is None else self.profiles.backend_of(record.spec.profile)

    # Reconciling

    @cached_property
    def leases(self) -> ShardLeases:
        return ShardLeases(self.redis, self.prefix, self.replica, shards=self.settings.shards)

    @cached_property
    def shards(self) -> Shards:
        return Shards(self.leases, self.settings.shards, clock=self.clock)

    @cached_property
    def queue(self) -> WorkQueue[ClusterId]:
        return WorkQueue(self.shards.own)

    @cached_property
    def processes(self) -> ProcessTable:
        return ProcessTable(self.backend, changed=self.queue.add)

    @cached_property
    def route_states(self) -> RouteStates:
        return RouteStates(self.store.routes, wake=self.queue.add)

    @cached_property
    def liveness(self) -> ReplicaLiveness:
        return ReplicaLiveness(self.store.replicas, self.replica, wake=self.queue.add, clock=self.clock)

    @cached_property
    def cluster_metrics(self) -> ClusterMetrics:
        return ClusterMetrics(self.shards.own, clock=self.clock)

    @cached_property
    def live_schedulers(self) -> LiveSchedulers:
        return LiveSchedulers(self.mirror, self.shards)

    @cached_property
    def signals(self) -> MeasuredSignals:
        return make_signals(self.settings.signals, self.live_schedulers.own, self.metrics_keys.of, clock=self.clock)

    def list_schedulers(self) -> bytes:
        """Returns the list that Prometheus asks for, from a thread."""
        return target_groups(self.live_schedulers.all(), self.metrics_keys.of)

    def list_workers(self) -> bytes:
        """Returns the same of their workers."""
        return worker_target_groups(self.live_schedulers.all(), self.metrics_keys.of)

    @cached_property
    def start_errors(self) -> StartErrors:
        return StartErrors(clock=self.clock)

    @property
    def culling(self) -> Culling:
        """Rules of culling."""
        return self.current_policy.policy.culling

    @cached_property
    def metric_rules(self) -> MetricRules:
        return MetricRules(
            self.signals,
            lambda: self.culling.rules,
            interval=self.settings.signals.interval_seconds,
            clock=self.clock,
        )

    @cached_property
    def observations(self) -> Observations:
        return Observations(
            self.store,
            self.signals,
            shard=self.shards.of,
            shards=self.settings.shards,
            interval=self.settings.signals.interval_seconds,
            clock=self.clock,
        )

    @cached_property
    def culling_watch(self) -> CullingWatch:
        return CullingWatch(
            self.observations,
            self.metric_rules,
            self.mirror,
            policy=lambda: self.culling,
            own=self.shards.own,
            wake=self.queue.add_after,
            clock=self.clock,
        )

    def findings(self, cluster: Cluster, observed: Observed | None = None) -> tuple[Finding, ...]:
        """Return what rules of culling and budgets find about a cluster, by what this or another replica observed."""
        return (*self.culling_watch.findings(cluster, observed), *self.budgets.findings(cluster))

    def follow_culling(self, _policy: PolicyFile) -> None:
        """Have all clusters planned with new rules."""
        for cluster in self.shards.all_own():
            self.queue.add(cluster)

    @cached_property
    def order(self) -> Order:
        return Order(clock=self.clock)

    @cached_property
    def serving(self) -> Serving:
        return Serving(
            self.store,
            self.mirror,
            self.admission,
            self.order,
            own=self.shards.own,
            wake=self.queue.add,
            budgets_known=self.budgets.known,
            clock=self.clock,
        )

    @cached_property
    def recharging(self) -> Recharging:
        return Recharging(self.store, self.mirror, self.admission, self.shards.all_own)

    @cached_property
    def lowering(self) -> Lowering:
        return Lowering(self.store, self.mirror, self.admission, own=self.shards.own, clock=self.clock)

    @cached_property
    def observer(self) -> Observer:
        return Observer(
            self.processes,
            self.route_states,
            self.liveness,
            self.start_errors,
            self.shards,
            findings=self.findings,
            place=self.order.place,
            observed=self.router.observed,
        )

    @cached_property
    def sealer(self) -> ManifestSealer:
        return ManifestSealer(self.seal)

    @cached_property
    def manifests(self) -> ManifestSync:
        return ManifestSync(self.store.records, self.backend, self.sealer)

    @cached_property
    def agent_tokens(self) -> AgentTokens:
        return AgentTokens(self.deployment_keys, self.settings.deployment)

    @cached_property
    def metrics_keys(self) -> MetricsKeys:
        return MetricsKeys(self.deployment_keys, self.settings.deployment)

    @cached_property
    def launch_specs(self) -> LaunchSpecs:
        ca_file = self.settings.agent_ca_file
        return LaunchSpecs(
            self.profiles,
            {name: [option.key for option in loaded.options] for name, loaded in self.backends.items()},
            self.agent_tokens,
            ca_file.read_text(encoding="ascii") if ca_file else "",
            token_seconds=self.settings.agent_token_seconds,
        )

    @cached_property
    def executor(self) -> Executor:
        return Executor(
            self.backend,
            self.launch_specs,
            self.manifests,
            self.start_errors,
            self.queue,
            scale_to_zero=ScalingToZero(self.store, self.mirror, self.admission, clock=self.clock).apply,
        )

    @cached_property
    def adoption(self) -> Adoption:
        return Adoption(
            store=self.store,
            mirror=self.mirror,
            backend=self.backend,
            processes=self.processes,
            sealer=self.sealer,
            admission=self.admission,
            clock=self.clock,
        )

    @cached_property
    def orphans(self) -> Orphans:
        return Orphans(
            reads=self.store.reads,
            mirror=self.mirror,
            shards=self.shards,
            processes=self.processes,
            adoption=self.adoption,
            executor=self.executor,
            queue=self.queue,
            grace=self.settings.orphan_grace_seconds,
            clock=self.clock,
        )

    @cached_property
    def policy(self) -> Policy:
        return Policy(
            start_timeout=self.settings.start_timeout_seconds,
            worker_start_timeout=self.settings.worker_start_timeout_seconds,
            scheduler_lost=self.settings.scheduler_lost_seconds,
            scheduler_silence=self.settings.scheduler_silence_seconds,
            worker_failure_limit=self.settings.worker_failure_limit,
        )

    @cached_property
    def reconciler(self) -> Reconciler:
        return Reconciler(
            records=self.store.records,
            events=self.store.events,
            mirror=self.mirror,
            queue=self.queue,
            shards=self.shards,
            observer=self.observer,
            executor=self.executor,
            manifests=self.manifests,
            unknown=self.orphans.check,
            policy=self.policy,
            clock=self.clock,
            tracing=tracing_of(self.settings),
        )

    @cached_property
    def resync(self) -> Resync:
        seconds = self.settings.resync_seconds
        return Resync(self.mirror, self.shards, self.processes, self.manifests, self.queue, seconds=seconds)

    @cached_property
    def retention(self) -> Retention:
        return Retention(
            self.store,
            self.backend,
            self.shards,
            retention=self.settings.retention_seconds,
            pause=min(_MAX_PAUSE_SECONDS, self.settings.resync_seconds),
            clock=self.clock,
        )

    # Services

    @cached_property
    def route_log(self) -> Tail[RouteLogEntry]:
        return Tail(self.store.routes.log)

    @cached_property
    def route_service(self) -> RouteService:
        return RouteService(self.store.routes, self.route_log, accept=self.route_states.accept)

    @cached_property
    def agent_events(self) -> AgentEvents:
        return AgentEvents(self.store, clock=self.clock)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(
            self.store,
            self.mirror,
            self.admission,
            addresses=AddressChecks(self.backend, self.agent_events),
            events=self.agent_events,
            replica=self.replica,
            adopt=self.adoption.adopt,
            clock=self.clock,
            silence_seconds=self.settings.scheduler_silence_seconds,
        )

    @cached_property
    def agent_service(self) -> AgentService:
        enrolment = Enrolment(
            self.authorities,
            self.backend,
            LaunchClaims(self.store.enrolments, self.agent_events, token_seconds=self.settings.agent_token_seconds),
            self.agent_tokens,
            dashboard_keys=DashboardKeys(self.deployment_keys, self.settings.deployment),
            metrics_keys=self.metrics_keys,
            credential_seconds=self.settings.authority_seconds,
            sni_suffix=self.settings.sni_suffix,
            adaptive_interval_seconds=self.settings.adaptive_interval_seconds,
            heartbeat_seconds=self.settings.scheduler_silence_seconds / 3,
            session_grace_seconds=self.settings.session_grace_seconds,
            tracing_endpoint=self.settings.agent_tracing_endpoint,
        )
        return AgentService(enrolment=enrolment, sessions=self.sessions, mirror=self.mirror, adopt=self.adoption.adopt)

    @cached_property
    def access(self) -> ClusterAccess:
        return ClusterAccess(self.mirror, lambda: self.current_policy.policy.roles, clock=self.clock)

    @cached_property
    def views(self) -> Views:
        return Views()

    @cached_property
    def commands(self) -> ClusterCommands:
        return ClusterCommands(
            store=self.store,
            mirror=self.mirror,
            access=self.access,
            admission=self.admission,
            authorities=self.authorities,
            profiles=self.profiles,
            backend=self.backend,
            budgets=self.budgets,
            culling=lambda: self.culling,
            clock=self.clock,
        )

    @cached_property
    def cluster_service(self) -> ClusterService:
        return ClusterService(
            profiles=self.profiles,
            access=self.access,
            commands=self.commands,
            batch_stop=BatchStop(self.mirror, self.access, self.commands),
            views=self.views,
            listing=Listing(self.store, self.mirror, self.access, self.views),
            watching=Watching(
                self.store,
                self.mirror,
                self.access,
                self.views,
                checkpoint_seconds=self.settings.checkpoint_seconds,
                clock=self.clock,
            ),
            connecting=Connecting(
                self.access,
                self.authorities,
                sni_suffix=self.settings.sni_suffix,
                guest_seconds=self.settings.guest_certificate_seconds,
            ),
            logs=LogReading(self.store, self.mirror, self.access, self.backend),
        )

    @cached_property
    def culling_service(self) -> CullingService:
        outlook = Outlook(
            self.mirror,
            self.access,
            self.findings,
            of_others=self.observations.of_others,
            own=self.shards.own,
            clock=self.clock,
        )
        return CullingService(commands=self.commands, outlook=outlook, views=self.views)

    @cached_property
    def limits_service(self) -> LimitsService:
        return LimitsService(
            store=self.store,
            mirror=self.mirror,
            admission=self.admission,
            profiles=self.profiles,
            exceptions=self.limit_exceptions,
            clock=self.clock,
        )

    @cached_property
    def options_service(self) -> OptionsService:
        return OptionsService(self.profiles)

    @cached_property
    def measuring(self) -> Measuring:
        return Measuring(lambda: self.signals, self.store, self.mirror, self.shards.all_own)

    @cached_property
    def pricing(self) -> Pricing:
        return Pricing(self.store, self.mirror, self.shards.all_own)

    @cached_property
    def usage_service(self) -> UsageService:
        return UsageService(
            UsageReading(self.store, self.mirror),
            self.budgets,
            self.access,
            lambda: self.current_policy.policy,
            self.usage_kept,
            clock=self.clock,
        )

    @cached_property
    def audit(self) -> AuditLog:
        return AuditLog(self.settings.audit, "controller", self.redis, self.prefix)

    @cached_property
    def audit_service(self) -> AuditService:
        return AuditService(self.redis, audit_log(self.prefix))

    @cached_property
    def policy_service(self) -> PolicyService:
        prospects = Prospects(
            culling=self.culling_watch, budgets=self.budgets, findings=self.findings, clock=self.clock
        )
        return PolicyService(
            self.current_policy, self.mirror, prospects, self.limit_exceptions.apply, self.settings.replica
        )
