"""Settings, store, policy, backends, mirror and shards: what all other parts use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from secrets import token_hex

from redis.asyncio import Redis

from headrace_chassis.audit.log import AuditLog
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.dashboard_keys import MetricsKeys
from headrace_chassis.identity.seal import Seal, read_deployment_keys
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.redis.leases import ShardLeases
from headrace_controller.authorities import Authorities
from headrace_controller.backends.base import Backend, BackendError, UnfitProfiles
from headrace_controller.backends.registry import LoadedBackend, options_of, profile_models_of
from headrace_controller.backends.router import BackendRouter
from headrace_controller.config import Settings
from headrace_controller.keys import Keys
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import ClusterId, Spec
from headrace_controller.policing.fit import check_fit
from headrace_controller.policy.current import CurrentPolicy, UncheckedPolicy
from headrace_controller.policy.file import PolicyFile, UnfitPolicy
from headrace_controller.profiles import Profiles
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.shards import Shards
from headrace_controller.store import Store
from headrace_controller.store.accounts import Accounts, Kept


class BaseParts:
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

    @cached_property
    def current_policy(self) -> CurrentPolicy[Profiles]:
        def fit(policy: PolicyFile) -> Profiles:
            options, models = options_of(self.backends), profile_models_of(self.backends)
            return check_fit(policy, options, models, self.settings.signals)

        return CurrentPolicy(
            self.settings.policy_file, self.settings.policy(), fit, self._check_backends, clock=self.clock
        )

    async def _check_backends(self, profiles: Profiles) -> None:
        """Ask the backends whether they can launch what the profiles of a policy say."""
        try:
            await self.router.check_profiles(profiles.backend_settings())
        except UnfitProfiles as error:
            raise UnfitPolicy(
                [(("profiles", key, "settings", *path), reason) for (key, *path), reason in error.faults]
            ) from None
        except BackendError as error:
            raise UncheckedPolicy(str(error)) from error

    @cached_property
    def profiles(self) -> Profiles:
        return Profiles(self.current_policy.fitted)

    def follow_profiles(self, _policy: PolicyFile) -> None:
        """Take up the profiles of a policy."""
        self.profiles.replace(self.current_policy.fitted)

    def follow_backends(self, _policy: PolicyFile) -> None:
        """Let backends launch as the profiles of a policy say."""
        self.router.use_profiles(self.current_policy.fitted.backend_settings())

    def fix(self, spec: Spec) -> Spec:
        """Return the spec of a new cluster with what holds for its life, whatever its profile says later."""
        backend = self.profiles.backend_of(spec.profile)
        if backend is None:
            return spec
        return replace(spec, backend=backend, fixed=self.router.fixed_options(backend, spec.profile))

    @cached_property
    def mirror(self) -> ClusterMirror:
        return ClusterMirror(self.store)

    @cached_property
    def authorities(self) -> Authorities:
        return Authorities(
            self.store.records.secrets,
            self.seal,
            lifetime=timedelta(seconds=self.settings.authority_seconds),
            certificate_lifetime=timedelta(seconds=self.settings.certificate_seconds),
        )

    @cached_property
    def router(self) -> BackendRouter:
        return BackendRouter({name: loaded.backend for name, loaded in self.backends.items()}, self._backend_of)

    @property
    def backend(self) -> Backend:
        return self.router

    def _backend_of(self, cluster: str) -> str | None:
        record = self.mirror.get(ClusterId(cluster))
        return None if record is None else record.spec.backend or self.profiles.backend_of(record.spec.profile)

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
    def agent_tokens(self) -> AgentTokens:
        return AgentTokens(self.deployment_keys, self.settings.deployment)

    @cached_property
    def metrics_keys(self) -> MetricsKeys:
        return MetricsKeys(self.deployment_keys, self.settings.deployment)

    @cached_property
    def audit(self) -> AuditLog:
        return AuditLog(self.settings.audit, "controller", self.redis, self.prefix)
