"""Settings of the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from headrace_chassis.audit.log import AuditSettings
from headrace_chassis.settings import ServiceSettings
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.offers import AllLimits, Key, ProfileSettings, SchedulerSettings, WorkerDefaults
from headrace_controller.policy.sections import Culling, IdleRule
from headrace_controller.signals.settings import SignalSettings

_IN_POLICY = ("profiles", "limits", "scheduler", "worker", "idle_timeout_seconds")


class Settings(ServiceSettings):
    """Settings of the controller. The environment overrides the file, which overrides the defaults."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_CONTROLLER_", env_nested_delimiter="__")

    backends: dict[str, dict[str, Any]] = Field(
        default={},
        description="Settings of each backend, by the backend's name. Empty means the only installed backend.",
    )
    policy_file: Path | None = Field(
        default=None,
        description="The policy, YAML: profiles, limits, roles, culling, budgets. Changes are taken up without a "
        "restart. It replaces `profiles`, `limits`, `scheduler`, `worker` and `idle_timeout_seconds`.",
    )
    profiles: dict[Key, ProfileSettings] = Field(
        default={"default": ProfileSettings()},
        min_length=1,
        description="Profiles that users may choose, by key. The first one is the default.",
    )
    agent_endpoint: str = Field(
        default="", description="gRPC target of this service for agents on this machine. Empty means `listen`."
    )
    agent_ca_file: Path | None = Field(
        default=None,
        description="Certificate authority that agents check the endpoint with, PEM. It is read for each launch.",
    )
    sni_suffix: str = Field(
        default="clusters.headrace.internal", description="A cluster's TLS server name is its id, a dot and this."
    )
    shards: int = Field(
        default=16, ge=1, le=1024, description="Number of parts into which replicas divide the clusters."
    )
    parallelism: int = Field(
        default=32, ge=1, le=1024, description="Number of clusters that one replica reconciles at the same time."
    )
    metrics_owners: int = Field(
        default=0,
        ge=0,
        le=200,
        description="Number of owners for whom the metrics page shows what they are promised, by name: those with the "
        "most cores. All who read the page or ask the Prometheus see these names.",
    )
    start_timeout_seconds: float = Field(
        default=60,
        gt=0,
        description="Seconds after which a scheduler that runs and is not usable counts as failed, or one that cannot "
        "be launched for an unknown reason. Time in which its platform does not answer does not count.",
    )
    pending_timeout_seconds: float = Field(
        default=1800,
        gt=0,
        le=7 * 86400,
        description="Seconds for which a scheduler may wait to run, for room, a node or its image, or for its platform "
        "to answer, besides `start_timeout_seconds`. Workers wait for as long as they are wanted.",
    )
    worker_start_timeout_seconds: float = Field(
        default=60,
        gt=0,
        description="Seconds after which a worker that has not joined its scheduler counts as failed. Time in which it "
        "waits, or its platform does not answer, does not count.",
    )
    scheduler_lost_seconds: float = Field(
        default=30, gt=0, description="Seconds without agent contact after which a scheduler counts as lost."
    )
    scheduler_silence_seconds: float = Field(
        default=30,
        ge=0.3,
        le=3600,
        description="Seconds after which a scheduler whose event loop gives no sign of life counts as not answering. "
        "It is not stopped. Schedulers send three signs of life in this time, those that are launched from then on.",
    )
    worker_failure_limit: int = Field(
        default=3, ge=1, description="Number of consecutive failed starts of workers after which a cluster fails."
    )
    idle_timeout_seconds: float = Field(
        default=1800,
        ge=0,
        le=31536000,
        description="Seconds after which an idle cluster is stopped: no work, and no results on its workers. Its users "
        "are warned five minutes before, or half of the time if that is shorter. 0: never.",
    )
    retention_seconds: float = Field(
        default=86400, ge=0, description="Seconds for which the record and the logs of an ended cluster are kept."
    )
    usage_days: int = Field(
        default=400, ge=32, le=4000, description="Days for which the usage of each user and group is kept."
    )
    usage_detail_days: int = Field(
        default=62,
        ge=1,
        le=4000,
        description="Days for which usage is kept by cluster, profile and tag, too; at most `usage_days` count.",
    )
    usage_rows: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Clusters of a user whose usage is kept apart each day; one with other tags counts again. Further "
        "ones count together.",
    )
    resync_seconds: float = Field(
        default=3600,
        gt=0,
        description="Seconds in which a replica checks all of its clusters once, a few at a time, for missed events.",
    )
    orphan_grace_seconds: float = Field(
        default=60, ge=0, description="Seconds after which processes of unknown clusters are stopped."
    )
    checkpoint_seconds: float = Field(
        default=15, gt=0, le=30, description="Seconds between two checkpoints of a watch without changes."
    )
    agent_token_seconds: float = Field(
        default=3600,
        ge=60,
        le=30 * 86400,
        description="Seconds within which a process must enrol: after its launch, or after its start if it waited "
        "for room in between.",
    )
    logs_per_user: int = Field(
        default=1000,
        ge=100,
        description="Logs of processes that one user reads or follows at once through one replica. All processes of a "
        "cluster count as 100, of which no more are followed at once.",
    )
    audit: AuditSettings = Field(default=AuditSettings(), description="The audit log.")
    certificate_seconds: float = Field(
        default=43200, ge=300, description="Lifetime of the certificates of clients and processes, in seconds."
    )
    guest_certificate_seconds: float = Field(
        default=900,
        ge=60,
        le=86400,
        description="Longest life of the certificate of a client that connects through a share. A scheduler refuses it "
        "as soon as the share ends, its workers until it expires. Clients renew it.",
    )
    agent_tracing_endpoint: str = Field(
        default="",
        pattern=r"^(https?://[^/]+)?$",
        description="Collector that schedulers' agents send a span of their start to, OTLP over gRPC. Clusters' code "
        "can reach it, too. It needs tracing_endpoint, and headrace[tracing] in the users' environments. Empty: they "
        "send none.",
    )
    authority_seconds: float = Field(
        default=10 * 365 * 86400,
        ge=86400,
        description="Lifetime of the certificate authority of a cluster, in seconds.",
    )
    adaptive_interval_seconds: float = Field(
        default=1, gt=0, description="Seconds between two runs of adaptive scaling."
    )
    session_grace_seconds: float = Field(
        default=600,
        ge=0,
        le=86400,
        description="Seconds for which a scheduler keeps the futures of a client whose connection is interrupted. "
        "A client may want less. 0: they end with the connection.",
    )
    signals: SignalSettings = Field(default=SignalSettings(), description="How clusters are measured.")
    limits: AllLimits = Field(default=AllLimits(), description="Limits of what may be promised.")
    scheduler: SchedulerSettings = Field(
        default=SchedulerSettings(), description="What a scheduler counts as, where limits bind."
    )
    worker: WorkerDefaults = Field(default=WorkerDefaults(), description="Defaults of the options of workers.")

    def policy(self) -> PolicyFile:
        """Return the policy that is in force without a policy file."""
        after = self.idle_timeout_seconds
        idle = IdleRule(after=after, warn=min(300.0, after / 2)) if after else None
        return PolicyFile(
            profiles=self.profiles,
            limits=self.limits,
            worker=self.worker,
            scheduler=self.scheduler,
            culling=Culling(idle=idle),
        )

    @model_validator(mode="after")
    def _check_policy_file(self) -> Self:
        twice = [name for name in _IN_POLICY if name in self.model_fields_set]
        if self.policy_file is not None and twice:
            raise ValueError(
                f"policy_file is set, so the policy file decides: do not set {', '.join(twice)} here, also not in the "
                "environment, and write it into that file (the time of idle clusters as culling.idle.after)"
            )
        return self
