"""The Kubernetes backend: each scheduler and each worker is one pod."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from headrace.errors import TokenInvalid
from headrace.option_types import OptionValue
from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.attestation import PodAttestation
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect
from headrace_backend_kubernetes.enrolment_secrets import EnrolmentSecrets, token_source
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error
from headrace_backend_kubernetes.last_words import LastWords
from headrace_backend_kubernetes.logs import Logs
from headrace_backend_kubernetes.manifests import ManifestStore
from headrace_backend_kubernetes.namespaces import Namespaces
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.pod_templates import NAMESPACE, PodTemplates
from headrace_backend_kubernetes.process_pods import ProcessPods, audience_of, manifest_annotation
from headrace_backend_kubernetes.profile_checks import check_profiles
from headrace_backend_kubernetes.profile_settings import PodDefaults, ProfileSettings
from headrace_backend_kubernetes.retention import Retention
from headrace_backend_kubernetes.seals import PodSeals
from headrace_backend_kubernetes.standby import StandbyPool
from headrace_backend_kubernetes.standby_pods import StandbyPod, standby_pod, wanted
from headrace_backend_kubernetes.starting import Starting
from headrace_backend_kubernetes.stopping import MARGIN_SECONDS, Stopping
from headrace_backend_kubernetes.token_review import token_reviews
from headrace_controller.backends.addresses import check_remote_address
from headrace_controller.backends.base import (
    Assignment,
    Attestation,
    BackendError,
    Capabilities,
    Deployment,
    LogPiece,
    Network,
)
from headrace_controller.backends.contact import ContactRecord
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, ProcessStatus, Role


class KubernetesBackend:
    """Runs processes as pods of a Kubernetes cluster.

    Parameters
    ----------
    settings
        The backend's settings.
    deployment
        The deployment.
    make_templates
        Makes the templates of pods, when the backend is opened and with each change of the profiles.
    """

    def __init__(
        self,
        settings: Settings,
        deployment: Deployment,
        *,
        make_templates: Callable[[PodDefaults, Mapping[str, ProfileSettings], str], PodTemplates] = PodTemplates,
    ) -> None:
        self.capabilities = Capabilities(
            stop_seconds=settings.pods.termination_grace_period_seconds + MARGIN_SECONDS,
            notice_seconds=30.0,  # kubelets of busy nodes report late
            logs_go_on=False,  # a log belongs to its pod
            reports_signals=False,  # 128 + n, which may be a program's own exit code
        )
        self.contact = ContactRecord()
        self.table = PodTable(remembered=settings.ended_pods + 1000)
        self._make_templates = make_templates
        self.templates = make_templates(settings.pods, {}, settings.namespace)
        self._settings = settings
        self._deployment = deployment
        self._profiles: Mapping[str, ProfileSettings] = {}
        self._endpoint = settings.agent_endpoint or deployment.agent_endpoint
        self._pods = ProcessPods(
            deployment=deployment.id,
            endpoint=self._endpoint,
            token_seconds=settings.token_seconds,
            seals=PodSeals(deployment.keys, deployment.id),
        )
        self._places: dict[str, str] = {}  # namespaces of clusters, as they were created
        self._opened: _Opened | None = None

    @property
    def api(self) -> Api:
        """The connection; raises `BackendError` before the backend is open."""
        return self._open.api

    async def open(self) -> None:
        """Connects; knows all pods when it returns."""
        try:
            api = await connect(self._settings, self.contact)
        except Unreachable as error:
            raise backend_error("backends.kubernetes cannot be opened", error) from error
        self.templates = self._make_templates(self._settings.pods, self._profiles, api.namespace)
        namespaces = Namespaces(api, self.table, labels.selector(self._deployment.id), self._pods.seals)
        try:
            others = {*self.templates.namespaces, *self._settings.namespaces, *self._places.values()}
            await namespaces.open(api.namespace, others)
        except (ApiError, Unreachable) as error:
            await api.close()
            raise backend_error(
                f"pods of namespace {api.namespace} cannot be listed with the controller's service account", error
            ) from error
        standby = StandbyPool(api, self.table, self._pods, self._standby_pod)
        self._opened = _Opened(api, self.table, namespaces, self._settings, self._pods, standby=standby)

    async def close(self) -> None:
        """Disconnects. Pods run on."""
        self.table.close()
        if self._opened:
            await self._opened.close()

    async def check_profiles(self, settings: Mapping[str, ProfileSettings]) -> None:
        """Has the API server check the pods that these settings of profiles would make."""
        opened = self._open
        templates = self._make_templates(self._settings.pods, settings, opened.api.namespace)
        await check_profiles(templates, lambda spec: self._pods.of(spec, templates), opened.api)

    def use_profiles(self, settings: Mapping[str, ProfileSettings]) -> None:
        """Makes pods as these settings of profiles say from now on; pods that run stay as they are."""
        self._profiles = settings
        own = self._opened.api.namespace if self._opened else self._settings.namespace
        self.templates = self._make_templates(self._settings.pods, settings, own)
        if self._opened:
            self._opened.namespaces.follow(self.templates.namespaces)

    def fixed_options(self, profile: str) -> Mapping[str, Mapping[str, str]]:
        """Fixes images, because a scheduler and workers with different ones may not compute, and the namespace."""
        return self.templates.fixed(profile)

    def locate(self, cluster: str, fixed: Mapping[str, Mapping[str, OptionValue]]) -> None:
        """Watches the namespace in which a cluster was created, whatever the settings say now."""
        namespace = str(fixed.get(Role.SCHEDULER, {}).get(NAMESPACE, ""))
        if not namespace:
            self._places.pop(cluster, None)
            return
        self._places[cluster] = namespace
        if self._opened:
            self._opened.namespaces.follow([namespace])

    def located(self, cluster: str) -> bool:
        """Whether the pods of the cluster's namespace were listed."""
        namespace = self._places.get(cluster)
        return namespace is None or self._open.namespaces.listed(namespace)

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        opened = self._open
        missing = await opened.standby.take([spec for spec in specs if not self.table.runs(spec.key)])
        pods = [(spec.key, self._pods.of(spec, self.templates, self._token_source(spec))) for spec in missing]
        if self._by_secret:
            await self._write_tokens(missing)
        await opened.starting.start(pods)
        for spec in specs:
            if self._by_secret and spec.role is Role.SCHEDULER and (pod := self.table.pod(spec.key)):
                await opened.secrets.give_to(pod)
            large = spec.role is Role.SCHEDULER and spec.manifest and not manifest_annotation(spec.manifest)
            if large and (pod := self.table.pod(spec.key)):
                await opened.manifests.write(pod, spec.manifest)
        await asyncio.sleep(0)  # readers of the changes receive them before this returns

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        await self._open.stopping.stop(self.table.running(cluster, processes))

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        """Returns what the watches have shown; that takes no time."""
        return self.table.statuses(cluster)

    def changes(self) -> AsyncIterator[ProcessStatus]:
        return self.table.feed.stream()

    async def logs(
        self,
        cluster: str,
        process: str | None = None,
        *,
        tail_lines: int | None = None,
        follow: bool = False,
        positions: Mapping[str, str] | None = None,
    ) -> AsyncIterator[LogPiece]:
        logs = self._open.logs
        read = logs.follow if follow else logs.read
        async for piece in read(cluster, process, tail_lines=tail_lines, positions=positions or {}):
            yield piece

    def network(self, cluster: str, process: str) -> Network:
        """A pod listens on all of its addresses; Dask itself finds an IPv4 address only."""
        pod = self.table.pod(ProcessKey(cluster, process))
        ips = pod.ips if pod else []
        only_v6 = bool(ips) and all(ipaddress.ip_address(ip).version == 6 for ip in ips)
        return Network(
            agent_endpoint=self._endpoint,
            listen_host=ips[0] if only_v6 else "",
            dns_names=(pod.name,) if pod else (),
            ip_addresses=tuple(ips),
        )

    async def check_address(self, cluster: str, process: str, address: str) -> None:
        """Accepts addresses of the very pod, as the API server has them."""
        key = ProcessKey(cluster, process)
        pod = self.table.pod(key)
        if pod is None or not self.table.runs(key) or not pod.ips:
            raise BackendError(f"{process} of cluster {cluster} does not run, as far as is known now")
        check_remote_address(address, pod.ips)

    async def attest(self, token: str) -> Attestation:
        """Verifies a pod's service account token with the API server."""
        if self._by_secret:
            raise TokenInvalid("pods enrol with tokens of the controller here (backends.kubernetes.enrolment: secret)")
        return await self._open.attestation.attest(token)

    async def keep(self, patterns: Sequence[ProcessSpec] | None) -> None:
        """Keeps as many pods in standby as the settings of their profiles say."""
        if self._by_secret:
            patterns = None if patterns is None else ()
        numbered = None if patterns is None else [(spec, wanted(spec, self.templates)) for spec in patterns]
        self._open.standby.keep(numbered)

    async def stand_by(self, launch: str) -> Assignment:
        """Waits until a pod in standby is given to a cluster, by any controller."""
        return await self._open.standby.stand_by(launch)

    @property
    def _by_secret(self) -> bool:
        return self._settings.enrolment == "secret"

    def _token_source(self, spec: ProcessSpec) -> dict[str, Any] | None:
        return token_source(spec.key) if self._by_secret else None

    async def _write_tokens(self, specs: Sequence[ProcessSpec]) -> None:
        """Before the pods are made, since they wait for their tokens; one request or two for each cluster."""
        places: dict[tuple[str, str], list[ProcessSpec]] = {}
        for spec in specs:
            places.setdefault((self.templates.namespace_of(spec), spec.key.cluster), []).append(spec)
        for (namespace, cluster), of_cluster in places.items():
            await self._open.secrets.put(namespace, cluster, of_cluster)

    def _standby_pod(self, spec: ProcessSpec) -> StandbyPod | None:
        return standby_pod(spec, self._pods, self.templates)

    async def forget(self, cluster: str) -> None:
        """Deletes what is left of a cluster: ended pods with their logs, exit codes and manifests."""
        opened = self._open
        where = {pod.namespace for pod in self.table.pods(cluster) if self.table.exists(pod)}
        with_tokens = (where | {self._places.get(cluster, "")}) - {""} if self._by_secret else ()
        try:
            for namespace in where:
                selector = labels.selector(self._deployment.id, cluster)
                await opened.api.delete_pods(namespace, selector)
            for namespace in with_tokens:  # also where no pod could be made that owns the Secret
                await opened.secrets.forget(namespace, cluster)
        except (ApiError, Unreachable) as error:
            raise backend_error(f"the ended pods of cluster {cluster} cannot be deleted", error) from error
        self.table.forget(cluster)

    async def manifest(self, cluster: str) -> bytes | None:
        pod = self._scheduler(cluster)
        return await self._open.manifests.read(pod) if pod else None

    async def manifests(self) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        for pod in self.table.schedulers():
            if manifest := await self._open.manifests.read(pod):
                found[pod.cluster] = manifest
        return found

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        if pod := self._scheduler(cluster):
            await self._open.manifests.write(pod, manifest)

    @property
    def _open(self) -> _Opened:
        if self._opened is None:
            raise BackendError("it is not open")
        return self._opened

    def _scheduler(self, cluster: str) -> Pod | None:
        key = ProcessKey(cluster, SCHEDULER)
        return self.table.pod(key) if self.table.runs(key) else None


class _Opened:
    """What there is while the backend is open."""

    def __init__(
        self,
        api: Api,
        table: PodTable,
        namespaces: Namespaces,
        settings: Settings,
        pods: ProcessPods,
        *,
        standby: StandbyPool,
    ) -> None:
        self.api = api
        self.namespaces = namespaces
        self.standby = standby
        self.starting = Starting(api, table, pods.seals)
        self.stopping = Stopping(api, table)
        last_words = LastWords(api, table)
        self.logs = Logs(api, table, last_words)
        self.manifests = ManifestStore(api, table)
        self.secrets = EnrolmentSecrets(api, table, pods.deployment)
        audience = audience_of(pods.deployment)
        self.attestation = PodAttestation(token_reviews(api, audience), table.find, audience)
        retention = Retention(
            api, table, pods.deployment, per_cluster=settings.ended_pods_per_cluster, in_all=settings.ended_pods
        )
        self._tasks = [
            asyncio.create_task(retention.run(), name="ended pods"),
            asyncio.create_task(last_words.run(), name="logs of pods that others end"),
            asyncio.create_task(standby.run(), name="pods in standby"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.namespaces.close()
        await self.api.close()
