"""The controller: its backends, its tasks, its services, and who hears what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import MappingProxyType

from prometheus_client import REGISTRY

from headrace_chassis.identity.seal import derive, read_deployment_keys
from headrace_chassis.redis.connection import connect
from headrace_chassis.server import App
from headrace_controller import metrics
from headrace_controller.backends.base import Backend, Deployment, Warms
from headrace_controller.backends.registry import LoadedBackend, load, options_of, profile_models_of
from headrace_controller.config import Settings
from headrace_controller.mirror.handlers import OnRemoved
from headrace_controller.options.catalogue import Option
from headrace_controller.parts import Parts, make_parts
from headrace_controller.policing.fit import check_fit
from headrace_controller.policing.trace import PolicyTrace
from headrace_controller.policy.current import CurrentPolicy
from headrace_controller.reconciling.owner_metrics import OwnerMetrics
from headrace_controller.signals import service_discovery


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Builds the controller with the backends of its settings."""
    keys = read_deployment_keys(settings.deployment_key_file)
    return await _build(settings, stack, _load_backends(settings, [derive(key, "backends") for key in keys]))


async def build_with(
    settings: Settings,
    stack: AsyncExitStack,
    backend: Backend,
    options: Sequence[Option] = (),
    others: Mapping[str, Backend] = MappingProxyType({}),
) -> App:
    """Builds the controller with one backend and its own options, whatever its settings name, and others by name."""
    names = set(settings.backends) or {p.backend for p in settings.profiles.values() if p.backend} or {"only"}
    loaded = dict.fromkeys(names, LoadedBackend(backend, tuple(options)))
    return await _build(settings, stack, loaded | {name: LoadedBackend(other, ()) for name, other in others.items()})


def check_policy(settings: Settings) -> None:
    """Raises HeadraceError or ValueError for a policy that the backends of the settings do not fit; starts nothing."""
    backends = _load_backends(settings)
    options, models = options_of(backends), profile_models_of(backends)
    CurrentPolicy(
        settings.policy_file,
        settings.policy(),
        lambda policy: check_fit(policy, options, models, settings.signals),
    )


def _load_backends(settings: Settings, keys: Sequence[bytes] = ()) -> dict[str, LoadedBackend]:
    endpoint = settings.agent_endpoint or settings.listen
    deployment = Deployment(id=settings.deployment, agent_endpoint=endpoint, keys=keys)
    return load(settings.backends, deployment)


async def _build(settings: Settings, stack: AsyncExitStack, backends: dict[str, LoadedBackend]) -> App:
    redis, waiting = (connect(settings.redis_url, settings.redis_password_file) for _ in range(2))
    stack.push_async_callback(redis.aclose)
    stack.push_async_callback(waiting.aclose)
    parts = make_parts(settings, redis, waiting, backends)
    base, measurements, tenancy, reconciling, services = parts
    _connect(parts)
    _show(parts, stack)
    base.follow_backends(base.current_policy.policy)
    await base.backend.open()
    stack.push_async_callback(base.backend.close)
    stack.push_async_callback(reconciling.manifests.close)
    stack.push_async_callback(reconciling.executor.close)
    stack.push_async_callback(services.sessions.close)
    return App(
        public=[
            services.cluster_service.register,
            services.culling_service.register,
            services.options_service.register,
            services.limits_service.register,
            services.policy_service.register,
            services.audit_service.register,
            services.usage_service.register,
            services.agent_service.register,
        ],
        internal=[services.route_service.register],
        verify_agent=services.agent_verifier.verify,
        audit=base.audit,
        pages={
            service_discovery.PATH: measurements.list_schedulers,
            service_discovery.WORKERS_PATH: measurements.list_workers,
        },
        check=partial(_check, parts),
        tasks=[
            base.current_policy.run,
            base.mirror.run,
            services.route_log.run,
            base.leases.run,
            reconciling.processes.run,
            partial(reconciling.reconciler.run, settings.parallelism),
            reconciling.route_states.run,
            reconciling.liveness.run,
            reconciling.orphans.run,
            reconciling.resync.run,
            reconciling.retention.run,
            reconciling.standby_keeping.run,
            tenancy.budgets.run,
            measurements.measuring.run,
            tenancy.pricing.run,
            tenancy.serving.run,
            tenancy.recharging.run,
            tenancy.lowering.run,
            tenancy.limit_exceptions.run,
            measurements.signals.run,
            tenancy.observations.run,
            tenancy.metric_rules.run,
        ],
    )


async def _check(parts: Parts) -> None:
    await parts.base.mirror.fresh()
    if isinstance(parts.base.backend, Warms):
        await parts.base.backend.warm()


def _show(parts: Parts, stack: AsyncExitStack) -> None:
    """Adds to the metrics what is asked for only when they are read."""
    metrics.QUEUE_OLDEST_SECONDS.set_function(parts.tenancy.order.longest)
    if most := parts.base.settings.metrics_owners:
        owners = OwnerMetrics(most)
        parts.base.mirror.connect(owners)
        REGISTRY.register(owners)
        stack.callback(REGISTRY.unregister, owners)


def _connect(parts: Parts) -> None:
    """Who hears what, in this order. Whatever makes a cluster worth a step adds its id to `base.queue`."""
    _follow_records(parts)
    _follow_changes(parts)
    _follow_leases(parts)
    _follow_policy(parts)
    _follow_limit_exceptions(parts)
    _follow_measurements(parts)
    parts.base.router.on_contact(parts.reconciling.reconciler.contact_changed)


def _follow_records(parts: Parts) -> None:
    """Handlers of the mirror."""
    base, measurements, tenancy, reconciling, services = parts
    handlers = [
        measurements.cluster_metrics,
        reconciling.locating,  # where their processes are found
        base.shards,  # which clusters are this replica's
        reconciling.liveness,  # which replicas hold sessions
        reconciling.processes,  # drops exited processes
        tenancy.order,  # in which order clusters get room
        tenancy.budgets,  # what counts towards budgets
        reconciling.reconciler,  # queues the cluster
        services.sessions,  # sends new instructions to the agent
        tenancy.observations,  # drops what was observed of ended ones
        tenancy.culling_watch,  # queues those that agents, too, report to be idle or without a client
        OnRemoved(services.views.discard, base.authorities.discard),
    ]
    for handler in handlers:
        base.mirror.connect(handler)


def _follow_changes(parts: Parts) -> None:
    """Those that hear of other entries of the change stream than records."""
    listeners = [
        parts.measurements.cluster_metrics.on_change,  # events
        parts.reconciling.route_states.on_change,  # acknowledgements of routes
        parts.tenancy.serving.on_change,  # room for clusters that wait
        parts.tenancy.limit_exceptions.on_entry,  # limits that admins set for a while
        parts.services.sessions.on_change,  # requests of proxies that clients connect again
    ]
    for listener in listeners:
        parts.base.mirror.changes.on_entry(listener)


def _follow_leases(parts: Parts) -> None:
    """Those that hear of shards that this replica has gained or lost."""
    base, tenancy, reconciling = parts.base, parts.tenancy, parts.reconciling
    gained = [
        base.shards.gained,  # since when its clusters are watched
        tenancy.observations.gained,  # loads what was observed of them before
        reconciling.reconciler.gained,  # queues its clusters
        reconciling.orphans.gained,  # checks for processes without a record
        reconciling.standby_keeping.gained,  # keeps processes in standby, if it is the first shard
        tenancy.recharging.gained,  # charges its clusters by the policy in force
        tenancy.lowering.gained,  # tells its clusters of lowered limits
    ]
    lost = [
        base.shards.lost,
        reconciling.manifests.discard_all,
        reconciling.start_errors.discard_all,
        reconciling.standby_keeping.lost,
        tenancy.observations.lost,
    ]
    for callback in gained:
        base.leases.on_gain(callback)
    for callback in lost:
        base.leases.on_lose(callback)


def _follow_policy(parts: Parts) -> None:
    """Those that hear of each policy that comes into force."""
    base, tenancy = parts.base, parts.tenancy
    followers = [
        base.follow_backends,  # how processes are launched
        base.follow_profiles,  # what users may choose
        tenancy.admission.follow,  # what they may use
        tenancy.serving.follow,  # who has room now
        tenancy.recharging.follow,  # what living clusters are charged
        tenancy.lowering.follow,  # who has too much now
        tenancy.pricing.follow,  # what clusters cost
        tenancy.follow_culling,  # when clusters are given back
        tenancy.budgets.follow,  # what may be used in a period
        PolicyTrace(base.audit, base.current_policy.policy, clock=base.clock).follow,  # what the audit log tells
        parts.reconciling.standby_keeping.follow,  # what is kept in standby
    ]
    for follow in followers:
        base.current_policy.on_change(follow)


def _follow_limit_exceptions(parts: Parts) -> None:
    """They are read with the records; the same parts hear of them as of limits in the policy."""
    tenancy = parts.tenancy
    parts.base.mirror.read_besides(tenancy.limit_exceptions.load)
    tenancy.limit_exceptions.on_change(tenancy.serving.follow)
    tenancy.limit_exceptions.on_change(tenancy.lowering.follow)


def _follow_measurements(parts: Parts) -> None:
    """They queue clusters that are idle for long enough."""
    parts.measurements.signals.on_change(parts.tenancy.culling_watch.changed)
    parts.tenancy.metric_rules.on_change(parts.tenancy.culling_watch.changed)
    parts.tenancy.observations.on_load(parts.tenancy.culling_watch.changed)
