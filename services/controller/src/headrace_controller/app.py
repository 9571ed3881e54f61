"""Builds the controller from its parts. Nothing else constructs them."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from secrets import token_hex
from types import ModuleType

import grpc.aio
from redis.asyncio import Redis

from headrace.internal.v1 import agent_service_pb2, route_service_pb2
from headrace.v1 import cluster_service_pb2, options_service_pb2
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.seal import Seal, read_deployment_keys
from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.redis.leases import ShardLeases
from headrace_chassis.server import App
from headrace_controller.agents.agent_service import Agents
from headrace_controller.agents.enrolment import Enrolment
from headrace_controller.agents.session import SessionContext
from headrace_controller.agents.wishes import Wishes
from headrace_controller.api.answers import Views
from headrace_controller.api.changing import Clusters
from headrace_controller.api.cluster_service import ClusterService
from headrace_controller.api.connecting import Connecting
from headrace_controller.api.listing import Listing
from headrace_controller.api.log_reading import LogReading
from headrace_controller.api.options_service import OptionsService
from headrace_controller.api.registration import register
from headrace_controller.api.watching import Watching
from headrace_controller.backends.base import Backend
from headrace_controller.backends.registry import create_backend
from headrace_controller.clusters.access import Access
from headrace_controller.admission import Admission
from headrace_controller.authorities import Authorities
from headrace_controller.config import Settings
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.options.by_backend import local_options
from headrace_controller.options.catalogue import Options
from headrace_controller.plan import Policy
from headrace_controller.reconciling.adoption import Adoption
from headrace_controller.reconciling.carrying_out import AgentAccess, CarryingOut
from headrace_controller.reconciling.full_pass import Everything, FullPass, PassSettings
from headrace_controller.reconciling.manifest_keeping import ManifestKeeping
from headrace_controller.reconciling.manifests import Manifests
from headrace_controller.reconciling.processes import Processes
from headrace_controller.reconciling.reconciler import Neighbours, Reconciler
from headrace_controller.reconciling.session_holders import SessionHolders
from headrace_controller.reconciling.troubles import Troubles
from headrace_controller.routes.route_service import Routes
from headrace_controller.routes.routing import Routing
from headrace_controller.signals import Signal
from headrace_controller.store import Change, RouteChange, Store, Topic
from headrace_controller.store.tail import Tail


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Builds the controller with the backend that the settings name."""
    return await build_with(settings, stack, create_backend(settings))


async def build_with(settings: Settings, stack: AsyncExitStack, backend: Backend) -> App:
    """Builds the controller with a backend."""
    base = _base(settings, stack, backend)
    await backend.open()
    stack.push_async_callback(backend.close)
    reconciling = _reconciling(base)
    stack.push_async_callback(reconciling.keeping.close)
    stack.push_async_callback(reconciling.carrying_out.close)
    agents = _agents(base, reconciling)
    stack.push_async_callback(agents.close)
    base.changed.connect(reconciling.reconciler.take, agents.take)
    base.adopted.connect(agents.adopted, reconciling.reconciler.adopted)
    for listener in (reconciling.reconciler.on_change, reconciling.routing.on_change, agents.on_change):
        base.changes.on_entry(listener)
    return App(
        public=[
            partial(_register, cluster_service_pb2, "ClusterService", _cluster_service(base, reconciling)),
            partial(_register, options_service_pb2, "OptionsService", OptionsService(base.options)),
            partial(_register, agent_service_pb2, "AgentService", agents),
        ],
        internal=[partial(_register, route_service_pb2, "RouteService", _routes(base, reconciling))],
        check=base.ping,
        tasks=[
            base.changes.run,
            base.route_changes.run,
            reconciling.leases.run,
            reconciling.processes.run,
            reconciling.reconciler.run,
            reconciling.holders.run,
            reconciling.full_pass.run,
        ],
    )


@dataclass(frozen=True, kw_only=True)
class _Base:
    """What all parts stand on; `replica` names this life of this replica."""

    settings: Settings
    replica: str
    redis: Redis
    store: Store
    backend: Backend
    changes: Tail[Change]
    route_changes: Tail[RouteChange]
    access: Access
    admission: Admission
    authorities: Authorities
    views: Views
    options: Options
    manifests: Manifests
    agent_tokens: AgentTokens
    changed: Signal[Cluster]
    adopted: Signal[Cluster]
    wake: Signal[ClusterId]

    async def ping(self) -> None:
        """Raises unless the store answers."""
        await self.store.version()


def _base(settings: Settings, stack: AsyncExitStack, backend: Backend) -> _Base:
    prefix = Prefix(settings.deployment)
    redis, waiting = (connect(settings.redis_url) for _ in range(2))
    stack.push_async_callback(redis.aclose)
    stack.push_async_callback(waiting.aclose)
    store, patient = Store(redis, Keys(prefix)), Store(waiting, Keys(prefix))
    deployment_keys = read_deployment_keys(settings.deployment_key_file)
    seal = Seal(deployment_keys)
    return _Base(
        settings=settings,
        # One that was killed and started again under its name holds nothing of what it held before.
        replica=f"{settings.replica}/{token_hex(4)}",
        redis=redis,
        store=store,
        backend=backend,
        changes=Tail(
            head=store.changes_head,
            read=store.changes,
            wait=patient.changes,
            position=_change_id,
            topics=_change_topics,
        ),
        route_changes=Tail(
            head=partial(_routes_head, store),
            read=store.route_changes,
            wait=patient.route_changes,
            position=_route_version,
        ),
        access=Access(store),
        admission=Admission(settings.limits),
        authorities=Authorities(
            store,
            seal,
            lifetime=timedelta(seconds=settings.authority_seconds),
            certificate_lifetime=timedelta(seconds=settings.certificate_seconds),
        ),
        views=Views(store),
        options=local_options(settings.worker),
        manifests=Manifests(seal),
        agent_tokens=AgentTokens(deployment_keys, settings.deployment),
        changed=Signal(),
        adopted=Signal(),
        wake=Signal(),
    )


@dataclass(frozen=True, kw_only=True)
class _Reconciling:
    """The parts that carry out what is wanted."""

    leases: ShardLeases
    processes: Processes
    routing: Routing
    holders: SessionHolders
    keeping: ManifestKeeping
    carrying_out: CarryingOut
    reconciler: Reconciler
    adoption: Adoption
    full_pass: FullPass


def _reconciling(base: _Base) -> _Reconciling:
    settings, wake, ask = base.settings, base.wake, Signal[object]()
    prefix = Prefix(settings.deployment)
    leases = ShardLeases(base.redis, prefix, base.replica, shards=settings.shards)
    processes = Processes(base.backend, changed=wake)
    routing = Routing(base.store, wake=wake)
    keeping = ManifestKeeping(base.store, base.backend, base.manifests)
    troubles = Troubles(clock=time.time)
    holders = SessionHolders(base.store, base.replica, missed=ask, clock=time.time)
    agents = _agent_access(settings, base.agent_tokens)
    carrying_out = CarryingOut(base.backend, keeping, agents, troubles, failed=wake)
    reconciler = Reconciler(
        Neighbours(
            store=base.store,
            processes=processes,
            routing=routing,
            leases=leases,
            carrying_out=carrying_out,
            troubles=troubles,
            holders=holders,
            changed=base.changed,
            unknown=ask,
        ),
        policy=_policy(settings),
        shards=settings.shards,
        parallelism=settings.parallelism,
        clock=time.time,
    )
    adoption = Adoption(
        base.store, base.backend, processes, base.manifests, base.admission, adopted=base.adopted, clock=time.time
    )
    full_pass = _full_pass(base, processes, reconciler, adoption, carrying_out)
    wake.connect(reconciler.wake)
    ask.connect(full_pass.ask)
    leases.on_gain(full_pass.ask)
    leases.on_lose(keeping.doubt)
    leases.on_lose(troubles.doubt)
    base.changes.on_gap(base.views.clear)
    base.changes.on_gap(full_pass.ask)
    return _Reconciling(
        leases=leases,
        processes=processes,
        routing=routing,
        holders=holders,
        keeping=keeping,
        carrying_out=carrying_out,
        reconciler=reconciler,
        adoption=adoption,
        full_pass=full_pass,
    )


def _full_pass(
    base: _Base, processes: Processes, reconciler: Reconciler, adoption: Adoption, carrying_out: CarryingOut
) -> FullPass:
    everything = Everything(
        store=base.store,
        backend=base.backend,
        processes=processes,
        reconciler=reconciler,
        adoption=adoption,
        carrying_out=carrying_out,
        views=base.views,
        authorities=base.authorities,
    )
    return FullPass(everything, _pass_settings(base.settings), clock=time.time)


def _agents(base: _Base, reconciling: _Reconciling) -> Agents:
    context = SessionContext(
        replica=base.replica,
        store=base.store,
        wishes=Wishes(base.store, base.admission, changed=base.changed, clock=time.time),
        adopt=reconciling.adoption.adopt,
        changed=base.changed,
        clock=time.time,
    )
    return Agents(Enrolment(base.authorities, base.settings), context)


def _routes(base: _Base, reconciling: _Reconciling) -> Routes:
    return Routes(base.store, base.route_changes, acknowledged=reconciling.routing.acknowledged, rejected=base.wake)


def _cluster_service(base: _Base, reconciling: _Reconciling) -> ClusterService:
    store, access, views, changes = base.store, base.access, base.views, base.changes
    return ClusterService(
        options=base.options,
        access=access,
        clusters=Clusters(store, access, base.admission, base.authorities, changed=base.changed, clock=time.time),
        views=views,
        listing=Listing(store, access, views),
        watching=Watching(
            store, access, views, changes, checkpoint_seconds=base.settings.checkpoint_seconds, clock=time.time
        ),
        connecting=Connecting(access, base.authorities, sni_suffix=base.settings.sni_suffix),
        logs=LogReading(store, access, base.backend, reconciling.processes, changes),
    )


def _agent_access(settings: Settings, tokens: AgentTokens) -> AgentAccess:
    ca_pem = settings.agent_ca_file.read_text(encoding="ascii") if settings.agent_ca_file else ""
    return AgentAccess(settings.agent_endpoint or settings.listen, ca_pem, tokens)


def _policy(settings: Settings) -> Policy:
    return Policy(
        start_timeout=settings.start_timeout_seconds,
        worker_start_timeout=settings.worker_start_timeout_seconds,
        scheduler_lost=settings.scheduler_lost_seconds,
        worker_failure_limit=settings.worker_failure_limit,
    )


def _pass_settings(settings: Settings) -> PassSettings:
    return PassSettings(
        every=settings.full_pass_seconds,
        orphan_grace=settings.orphan_grace_seconds,
        retention=settings.retention_seconds,
    )


def _register(module: ModuleType, service: str, servicer: object, server: grpc.aio.Server) -> str:
    return register(server, module.DESCRIPTOR.services_by_name[service], servicer)


def _change_id(change: Change) -> str:
    return change.id


def _change_topics(change: Change) -> tuple[Topic, ...]:
    return change.topics


def _route_version(change: RouteChange) -> str:
    return change.version


async def _routes_head(store: Store) -> str:
    version, _ = await store.routes()
    return version
