"""What answers clients, agents and proxies."""

from __future__ import annotations

from functools import cached_property

from headrace_chassis.identity.dashboard_keys import DashboardKeys
from headrace_chassis.redis.keys import audit_log
from headrace_controller.agents.address_checks import AddressChecks
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.agents.agent_service import AgentService
from headrace_controller.agents.agent_verifier import AgentVerifier
from headrace_controller.agents.enrolment import Enrolment
from headrace_controller.agents.launch_claims import LaunchClaims
from headrace_controller.agents.sessions import Sessions
from headrace_controller.agents.standbys import Standbys
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
from headrace_controller.mirror.tail import Tail
from headrace_controller.parts.base import BaseParts
from headrace_controller.parts.reconciling import ReconcilingParts
from headrace_controller.parts.tenancy import TenancyParts
from headrace_controller.policing.prospects import Prospects
from headrace_controller.routes.route_service import RouteService
from headrace_controller.store import RouteLogEntry
from headrace_controller.usage.reading import UsageReading


class ServiceParts:
    def __init__(self, base: BaseParts, tenancy: TenancyParts, reconciling: ReconcilingParts) -> None:
        self._base = base
        self._tenancy = tenancy
        self._reconciling = reconciling

    @cached_property
    def route_log(self) -> Tail[RouteLogEntry]:
        return Tail(self._base.store.routes.log)

    @cached_property
    def route_service(self) -> RouteService:
        return RouteService(self._base.store.routes, self.route_log, accept=self._reconciling.route_states.accept)

    @cached_property
    def agent_events(self) -> AgentEvents:
        return AgentEvents(self._base.store, clock=self._base.clock)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(
            self._base.store,
            self._base.mirror,
            self._tenancy.admission,
            addresses=AddressChecks(self._base.backend, self.agent_events),
            events=self.agent_events,
            replica=self._base.replica,
            adopt=self._reconciling.adoption.adopt,
            clock=self._base.clock,
            silence_seconds=self._base.settings.scheduler_silence_seconds,
        )

    @cached_property
    def agent_verifier(self) -> AgentVerifier:
        return AgentVerifier(
            self._base.agent_tokens,
            self._base.router,
            launch_seconds=self._base.settings.agent_token_seconds,
            clock=self._base.clock,
        )

    @cached_property
    def agent_service(self) -> AgentService:
        enrolment = Enrolment(
            self._base.authorities,
            self._base.backend,
            LaunchClaims(
                self._base.store.enrolments, self.agent_events, token_seconds=self._base.settings.agent_token_seconds
            ),
            self._base.agent_tokens,
            dashboard_keys=DashboardKeys(self._base.deployment_keys, self._base.settings.deployment),
            metrics_keys=self._base.metrics_keys,
            credential_seconds=self._base.settings.authority_seconds,
            sni_suffix=self._base.settings.sni_suffix,
            adaptive_interval_seconds=self._base.settings.adaptive_interval_seconds,
            heartbeat_seconds=self._base.settings.scheduler_silence_seconds / 3,
            session_grace_seconds=self._base.settings.session_grace_seconds,
            tracing_endpoint=self._base.settings.agent_tracing_endpoint,
        )
        return AgentService(
            enrolment=enrolment,
            sessions=self.sessions,
            standbys=Standbys(self._base.router),
            mirror=self._base.mirror,
            adopt=self._reconciling.adoption.adopt,
        )

    @cached_property
    def access(self) -> ClusterAccess:
        return ClusterAccess(self._base.mirror, lambda: self._base.current_policy.policy.roles, clock=self._base.clock)

    @cached_property
    def views(self) -> Views:
        return Views()

    @cached_property
    def commands(self) -> ClusterCommands:
        return ClusterCommands(
            store=self._base.store,
            mirror=self._base.mirror,
            access=self.access,
            admission=self._tenancy.admission,
            authorities=self._base.authorities,
            profiles=self._base.profiles,
            backend=self._base.backend,
            fix=self._base.fix,
            budgets=self._tenancy.budgets,
            culling=lambda: self._tenancy.culling,
            clock=self._base.clock,
        )

    @cached_property
    def cluster_service(self) -> ClusterService:
        return ClusterService(
            profiles=self._base.profiles,
            access=self.access,
            commands=self.commands,
            batch_stop=BatchStop(self._base.mirror, self.access, self.commands),
            views=self.views,
            listing=Listing(self._base.store, self._base.mirror, self.access, self.views),
            watching=Watching(
                self._base.store,
                self._base.mirror,
                self.access,
                self.views,
                checkpoint_seconds=self._base.settings.checkpoint_seconds,
                clock=self._base.clock,
            ),
            connecting=Connecting(
                self.access,
                self._base.authorities,
                sni_suffix=self._base.settings.sni_suffix,
                guest_seconds=self._base.settings.guest_certificate_seconds,
            ),
            logs=LogReading(
                self._base.store,
                self._base.mirror,
                self.access,
                self._base.backend,
                per_user=self._base.settings.logs_per_user,
            ),
        )

    @cached_property
    def culling_service(self) -> CullingService:
        outlook = Outlook(
            self._base.mirror,
            self.access,
            self._tenancy.findings,
            of_others=self._tenancy.observations.of_others,
            own=self._base.shards.own,
            clock=self._base.clock,
        )
        return CullingService(commands=self.commands, outlook=outlook, views=self.views)

    @cached_property
    def limits_service(self) -> LimitsService:
        return LimitsService(
            store=self._base.store,
            mirror=self._base.mirror,
            admission=self._tenancy.admission,
            profiles=self._base.profiles,
            exceptions=self._tenancy.limit_exceptions,
            clock=self._base.clock,
        )

    @cached_property
    def options_service(self) -> OptionsService:
        return OptionsService(self._base.profiles)

    @cached_property
    def usage_service(self) -> UsageService:
        return UsageService(
            UsageReading(self._base.store, self._base.mirror),
            self._tenancy.budgets,
            self.access,
            lambda: self._base.current_policy.policy,
            self._base.usage_kept,
            clock=self._base.clock,
        )

    @cached_property
    def audit_service(self) -> AuditService:
        return AuditService(self._base.redis, audit_log(self._base.prefix))

    @cached_property
    def policy_service(self) -> PolicyService:
        prospects = Prospects(
            culling=self._tenancy.culling_watch,
            budgets=self._tenancy.budgets,
            findings=self._tenancy.findings,
            clock=self._base.clock,
        )
        return PolicyService(
            self._base.current_policy,
            self._base.mirror,
            prospects,
            self._tenancy.limit_exceptions.apply,
            self._base.settings.replica,
        )
