"""The controller: its backends, its tasks, its services, and who hears what."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

from prometheus_client import REGISTRY

from headrace_chassis.redis.connection import connect
from headrace_chassis.server import App
from headrace_controller import metrics
from headrace_controller.backends.base import Backend, Deployment, Warms
from headrace_controller.backends.registry import LoadedBackend, load
from headrace_controller.config import Settings
from headrace_controller.mirror.handlers import OnRemoved
from headrace_controller.parts import Parts
from headrace_controller.policing.fit import check_fit
from headrace_controller.policing.trace import PolicyTrace
from headrace_controller.policy.current import CurrentPolicy
from headrace_controller.reconciling.owner_metrics import OwnerMetrics
from headrace_controller.signals import service_discovery


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Builds the controller with the backends of its settings."""
    return await _build(settings, stack, _load_backends(settings))


async def build_with(settings: Settings, stack: AsyncExitStack, backend: Backend) -> App:
    """Builds the controller with one backend, whatever its settings name."""
    names = set(settings.backends) or {p.backend for p in settings.profiles.values() if p.backend} or {"only"}
    return await _build(settings, stack, dict.fromkeys(names, LoadedBackend(backend)))


def check_policy(settings: Settings) -> None:
    """Raises HeadraceError or ValueError for a policy that the backends of the settings do not fit; starts nothing."""
    options = {name: loaded.options for name, loaded in _load_backends(settings).items()}
    CurrentPolicy(settings.policy_file, settings.policy(), lambda policy: check_fit(policy, options, settings.signals))


def _load_backends(settings: Settings) -> dict[str, LoadedBackend]:
    deployment = Deployment(id=settings.deployment, agent_endpoint=settings.agent_endpoint or settings.listen)
    return load(settings.backends, deployment)


async def _build(settings: Settings, stack: AsyncExitStack, backends: dict[str, LoadedBackend]) -> App:
    redis, waiting = (connect(settings.redis_url) for _ in range(2))
    stack.push_async_callback(redis.aclose)
    stack.push_async_callback(waiting.aclose)
    parts = Parts(settings, redis, waiting, backends)
    _connect(parts)
    _show(parts, stack)
    await parts.backend.open()
    stack.push_async_callback(parts.backend.close)
    stack.push_async_callback(parts.manifests.close)
    stack.push_async_callback(parts.executor.close)
    stack.push_async_callback(parts.sessions.close)
    return App(
        public=[
            parts.cluster_service.register,
            parts.culling_service.register,
            parts.options_service.register,
            parts.limits_service.register,
            parts.policy_service.register,
            parts.audit_service.register,
            parts.usage_service.register,
            parts.agent_service.register,
        ],
        internal=[parts.route_service.register],
        audit=parts.audit,
        pages={service_discovery.PATH: parts.list_schedulers, service_discovery.WORKERS_PATH: parts.list_workers},
        check=partial(_check, parts),
        tasks=[
            parts.current_policy.run,
            parts.mirror.run,
            parts.route_log.run,
            parts.leases.run,
            parts.processes.run,
            partial(parts.reconciler.run, settings.parallelism),
            parts.route_states.run,
            parts.liveness.run,
            parts.orphans.run,
            parts.resync.run,
            parts.retention.run,
            parts.budgets.run,
            parts.measuring.run,
            parts.pricing.run,
            parts.serving.run,
            parts.recharging.run,
            parts.lowering.run,
            parts.limit_exceptions.run,
            parts.signals.run,
            parts.observations.run,
            parts.metric_rules.run,
        ],
    )


async def _check(parts: Parts) -> None:
    await parts.mirror.fresh()
    if isinstance(parts.backend, Warms):
        await parts.backend.warm()


def _show(parts: Parts, stack: AsyncExitStack) -> None:
    """Adds to the metrics what is asked for only when they are read."""
    metrics.QUEUE_OLDEST_SECONDS.set_function(parts.order.longest)
    if most := parts.settings.metrics_owners:
        owners = OwnerMetrics(most)
        parts.mirror.connect(owners)
        REGISTRY.register(owners)
        stack.callback(REGISTRY.unregister, owners)


def _connect(parts: Parts) -> None:
    """Who hears what, in this order. Whatever makes a cluster worth a step adds its id to `parts.queue`."""
    records = [
        parts.cluster_metrics,
        parts.shards,  # which clusters are this replica's
        parts.liveness,  # which replicas hold sessions
        parts.processes,  # drops exited processes
        parts.order,  # in which order clusters get room
        parts.budgets,  # what counts towards budgets
        parts.reconciler,  # queues the cluster
        parts.sessions,  # sends new instructions to the agent
        parts.observations,  # drops what was observed of ended ones
        OnRemoved(parts.views.discard, parts.authorities.discard),
    ]
    changes = [
        parts.cluster_metrics.on_change,  # events
        parts.route_states.on_change,  # acknowledgements of routes
        parts.serving.on_change,  # room for clusters that wait
        parts.limit_exceptions.on_entry,  # limits that admins set for a while
        parts.sessions.on_change,  # requests of proxies that clients connect again
    ]
    gained = [
        parts.shards.gained,  # since when its clusters are watched
        parts.observations.gained,  # loads what was observed of them before
        parts.reconciler.gained,  # queues its clusters
        parts.orphans.gained,  # checks for processes without a record
        parts.recharging.gained,  # charges its clusters by the policy in force
        parts.lowering.gained,  # tells its clusters of lowered limits
    ]
    lost = [
        parts.shards.lost,
        parts.manifests.discard_all,
        parts.start_errors.discard_all,
        parts.observations.lost,
    ]
    policies = [
        parts.follow_profiles,  # what users may choose
        parts.admission.follow,  # what they may use
        parts.serving.follow,  # who has room now
        parts.recharging.follow,  # what living clusters are charged
        parts.lowering.follow,  # who has too much now
        parts.pricing.follow,  # what clusters cost
        parts.follow_culling,  # when clusters are given back
        parts.budgets.follow,  # what may be used in a period
        PolicyTrace(parts.audit, parts.current_policy.policy, clock=parts.clock).follow,  # what the audit log tells
    ]
    for follow in policies:
        parts.current_policy.on_change(follow)
    parts.mirror.read_besides(parts.limit_exceptions.load)
    parts.limit_exceptions.on_change(parts.serving.follow)
    parts.limit_exceptions.on_change(parts.lowering.follow)
    parts.signals.on_change(parts.culling_watch.changed)  # queues clusters that are idle for long enough
    parts.metric_rules.on_change(parts.culling_watch.changed)
    for handler in records:
        parts.mirror.connect(handler)
    for listener in changes:
        parts.mirror.changes.on_entry(listener)
    for callback in gained:
        parts.leases.on_gain(callback)
    for callback in lost:
        parts.leases.on_lose(callback)
