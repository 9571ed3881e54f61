"""Describes the processes of clusters to their backend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from headrace.option_types import OptionValue
from headrace.tracing import TRACEPARENT
from headrace.v1.enums import ExitCause
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, Role
from headrace_controller.model import Cluster, ClusterId, Group, Resources, Spec, UserId, WorkerId, WorkerRecord
from headrace_controller.options import shapes
from headrace_controller.profiles import Profiles


class LaunchSpecs:
    """Makes the specs with which processes are launched.

    Parameters
    ----------
    own_options
        Keys of each backend's own options, by its name.
    agent_ca_pem
        Returns the certificate authority that agents check this service with; empty for a unix socket.
    token_seconds
        Life of the token of a launch. A process that waits for room longer may enrol with it all the same.
    scheduler
        Returns what a scheduler may use: what it counts as in limits.
    """

    def __init__(
        self,
        profiles: Profiles,
        own_options: Mapping[str, Collection[str]],
        agent_tokens: AgentTokens,
        agent_ca_pem: Callable[[], str] = str,
        *,
        token_seconds: float,
        scheduler: Callable[[], Resources] = Resources,
    ) -> None:
        self._profiles = profiles
        self._own_options = own_options
        self._agent_tokens = agent_tokens
        self._agent_ca_pem = agent_ca_pem
        self._token_seconds = token_seconds
        self._scheduler = scheduler

    def make(self, cluster: Cluster, processes: Sequence[str], manifest: bytes) -> list[ProcessSpec]:
        """Returns a spec for each process; `manifest` is kept with the scheduler.

        Raises `BackendError` if the settings no longer have the cluster's profile and there are several backends.
        """
        backend = cluster.spec.backend or self._profiles.backend_of(cluster.spec.profile)
        if backend is None:
            why = f"its profile {cluster.spec.profile!r} is not in the policy any more"
            raise BackendError(why, cause=ExitCause.REFUSED)
        ca_pem = self._agent_ca_pem()
        return [self._spec(cluster, process, backend, manifest, ca_pem) for process in processes]

    def patterns(self, profile: str, options: Mapping[str, OptionValue]) -> list[ProcessSpec]:
        """Returns the scheduler and the worker that a cluster with these options would start, as those of nobody."""
        worker, group = WorkerId("worker"), Group()
        nobody = Cluster(
            id=ClusterId(""),
            owner=UserId(""),
            created=0,
            spec=Spec(profile=profile, options=options, groups=(group,)),
            workers={worker: WorkerRecord(id=worker, group=group.name)},
        )
        specs = self.make(nobody, [SCHEDULER, worker], b"")
        return [replace(spec, key=ProcessKey("", ""), agent_token="", generation=0) for spec in specs]

    def _spec(self, cluster: Cluster, process: str, backend: str, manifest: bytes, ca_pem: str) -> ProcessSpec:
        record = cluster.workers.get(WorkerId(process))
        group = cluster.spec.group(record.group) if record else None
        return ProcessSpec(
            key=ProcessKey(cluster.id, process),
            backend=backend,
            role=Role.SCHEDULER if process == SCHEDULER else Role.WORKER,
            generation=cluster.generation,
            owner=cluster.owner,
            agent_token=self._agent_tokens.launch(cluster.id, process, self._token_seconds),
            agent_ca_pem=ca_pem,
            resources=shapes.shape(cluster.spec, group).resources if group else self._scheduler(),
            environment={**shapes.environment(cluster.spec, group), **_trace(cluster)},
            labels=_labels(cluster, group),
            settings=shapes.backend_settings(cluster.spec, group, self._own_options.get(backend, ())),
            manifest=manifest if process == SCHEDULER else b"",
        )


def _trace(cluster: Cluster) -> dict[str, str]:
    return {TRACEPARENT: cluster.start_trace} if cluster.start_trace else {}


def _labels(cluster: Cluster, group: Group | None) -> dict[str, str]:
    labels = {"owner": cluster.owner, "profile": cluster.spec.profile}
    if group:
        labels["group"] = group.name
    return labels | {f"tag/{key}": value for key, value in cluster.spec.tags.items()}
