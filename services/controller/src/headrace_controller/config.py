"""Settings of the controller."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ByteSize, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from headrace_chassis.settings import ServiceSettings
from headrace_controller.model import Limits


class LimitSettings(BaseModel):
    """Bounds of what may be promised; None binds nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clusters: int | None = Field(default=None, ge=0, description="Living clusters.")
    workers: int | None = Field(default=None, ge=0, description="Workers, over all groups.")
    cores: float | None = Field(default=None, ge=0, description="Cores of all workers.")
    memory_bytes: ByteSize | None = Field(
        default=None, description="Memory of all workers, bytes or text such as '64 GiB'."
    )

    def limits(self) -> Limits:
        """The same as the store counts it."""
        return Limits(
            clusters=self.clusters,
            workers=self.workers,
            cores_milli=None if self.cores is None else round(self.cores * 1000),
            memory_bytes=self.memory_bytes,
        )


class AllLimits(BaseModel):
    """Bounds by what they bind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deployment: LimitSettings = Field(default=LimitSettings(), description="What all clusters together may have.")
    user: LimitSettings = Field(
        default=LimitSettings(), description="What the clusters of each user may have together."
    )
    cluster: LimitSettings = Field(default=LimitSettings(workers=1000), description="What each cluster may have.")


class WorkerDefaults(BaseModel):
    """Values of a worker's options that a user leaves out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cores: float = Field(default=1.0, gt=0, le=1024, description="Cores that a worker counts as.")
    memory_bytes: ByteSize = Field(default=ByteSize(2 * 2**30), ge=0, description="Memory limit of a worker; 0: none.")


class Settings(ServiceSettings):
    """Settings of the controller; environment over file over default."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_CONTROLLER_", env_nested_delimiter="__")

    backend: str = Field(default="local", description="Name of the backend that runs processes.")
    local_directory: Path = Field(
        default=Path("headrace-local"), description="Directory of the local backend: its socket, logs and manifests."
    )
    local_warm: bool = Field(default=True, description="Fork processes from a parent that has everything imported.")
    local_standby: int = Field(
        default=2, ge=0, le=64, description="Schedulers that the local backend keeps forked in advance."
    )
    listen_host: str = Field(default="127.0.0.1", description="Where Dask processes listen. Empty: as Dask decides.")
    agent_endpoint: str = Field(default="", description="gRPC target of this service for agents. Empty: as `listen`.")
    agent_ca_file: Path | None = Field(
        default=None, description="Certificate authority that agents check the endpoint with."
    )
    sni_suffix: str = Field(
        default="clusters.headrace.internal", description="Clusters are reached by the TLS server name <id>.<this>."
    )
    shards: int = Field(default=16, ge=1, le=1024, description="Parts that clusters are divided into over replicas.")
    parallelism: int = Field(default=32, ge=1, le=1024, description="Clusters that one replica reconciles at once.")
    start_timeout_seconds: float = Field(
        default=60, gt=0, description="A scheduler that is not usable by then has failed."
    )
    worker_start_timeout_seconds: float = Field(
        default=60, gt=0, description="A worker that has not joined by then failed."
    )
    scheduler_lost_seconds: float = Field(
        default=30, gt=0, description="A scheduler whose agent was away for so long is lost."
    )
    worker_failure_limit: int = Field(default=3, ge=1, description="Failed starts of workers that fail a cluster.")
    retention_seconds: float = Field(
        default=86400, ge=0, description="How long the record and logs of an ended cluster stay."
    )
    full_pass_seconds: float = Field(
        default=60, gt=0, description="Between two looks at everything, for what an event missed."
    )
    orphan_grace_seconds: float = Field(
        default=60, ge=0, description="Processes of unknown clusters are stopped after this."
    )
    checkpoint_seconds: float = Field(default=15, gt=0, le=30, description="Between two checkpoints of a quiet watch.")
    certificate_seconds: float = Field(
        default=43200, ge=300, description="Lifetime of clients' and processes' certificates."
    )
    authority_seconds: float = Field(
        default=10 * 365 * 86400, ge=86400, description="Lifetime of a cluster's own authority."
    )
    idle_timeout_seconds: float = Field(
        default=0, ge=0, description="Dask ends a scheduler idle for so long. 0: never."
    )
    adaptive_interval_seconds: float = Field(default=1, gt=0, description="Between two looks of adaptive scaling.")
    limits: AllLimits = Field(
        default=AllLimits(), description="What may be promised to users, clusters and altogether."
    )
    worker: WorkerDefaults = Field(default=WorkerDefaults(), description="Values of options that a user leaves out.")
