"""Settings of the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from headrace_chassis.settings import ServiceSettings
from headrace_controller.model import Limits, Resources

Key = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class LimitSettings(BaseModel):
    """Limits of one subject; None means no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clusters: int | None = Field(default=None, ge=0, description="Living clusters.")
    workers: int | None = Field(default=None, ge=0, description="Workers of all worker groups.")
    cores: float | None = Field(default=None, ge=0, description="Cores of all workers and schedulers.")
    memory_bytes: ByteSize | None = Field(
        default=None, description="Memory of all workers and schedulers, in bytes or as text such as '64 GiB'."
    )
    gpus: int | None = Field(default=None, ge=0, description="GPUs of all workers.")

    def limits(self) -> Limits:
        """Return them as the store counts."""
        return Limits(
            clusters=self.clusters,
            workers=self.workers,
            cores_milli=None if self.cores is None else round(self.cores * 1000),
            memory_bytes=None if self.memory_bytes is None else int(self.memory_bytes),
            gpus=self.gpus,
        )


class ClusterLimitSettings(LimitSettings):
    """Limits of each cluster."""

    workers: int | None = Field(default=1000, ge=0, description="Workers of all worker groups.")


class UserLimitSettings(LimitSettings):
    """Limits of each user."""

    clusters: int | None = Field(default=100, ge=0, description="Living clusters.")
    workers: int | None = Field(default=1000, ge=0, description="Workers of all worker groups.")


class AllLimits(BaseModel):
    """Limits by subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deployment: LimitSettings = Field(default=LimitSettings(), description="Limits of all clusters together.")
    user: UserLimitSettings = Field(
        default=UserLimitSettings(), description="Limits of all clusters of one user together."
    )
    cluster: ClusterLimitSettings = Field(default=ClusterLimitSettings(), description="Limits of each cluster.")
    on_scale: Literal["clip", "reject"] = Field(
        default="clip",
        description="Answer to a request to scale beyond a limit: clip gives as many workers as the limit allows, and "
        "the user is warned; reject refuses the request.",
    )


class WorkerDefaults(BaseModel):
    """Defaults of the options of workers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cores: float = Field(default=1.0, gt=0, le=1024, description="Cores of a worker.")
    memory_bytes: ByteSize = Field(
        default=ByteSize(2 * 2**30), ge=0, description="Memory limit of a worker in bytes. 0 means no limit."
    )
    threads_per_core: int = Field(
        default=4,
        ge=1,
        description="Maximum number of threads for each core of a worker, where a limit on cores binds.",
    )


class SchedulerSettings(BaseModel):
    """What a scheduler counts as, where limits bind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cores: float = Field(default=1.0, ge=0, le=1024, description="Cores that a scheduler counts as in limits.")
    memory_bytes: ByteSize = Field(
        default=ByteSize(2 * 2**30),
        ge=0,
        le=2**50,
        description="Memory that a scheduler counts as in limits, in bytes.",
    )

    def resources(self) -> Resources:
        """Return them as the store counts."""
        return Resources(cores=self.cores, memory_bytes=int(self.memory_bytes))


class OptionSettings(BaseModel):
    """Changes to an option in a profile. Values are written as users write them, such as '4 GiB'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Any = Field(default=None, description="Value if none is given.")
    minimum: int | float | str | None = Field(default=None, description="Minimum, if the option is a number.")
    maximum: int | float | str | None = Field(default=None, description="Maximum, if the option is a number.")
    choices: list[Any] | dict[str, Any] | None = Field(
        default=None, description="The values that may be chosen: a list, or a mapping of labels to values."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.choices is not None and (self.minimum is not None or self.maximum is not None):
            raise ValueError("set either `choices`, or `minimum` and `maximum`")
        if self.choices is not None and not self.choices:
            raise ValueError("`choices` must not be empty")
        return self


class ProfileSettings(BaseModel):
    """A kind of cluster that users may choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(default="", max_length=256, description="Label for people. Empty means the profile's key.")
    description: str = Field(default="", max_length=1024, description="Sentence for people.")
    backend: str = Field(default="", description="Backend of its clusters. Empty means the first of `backends`.")
    limits: LimitSettings = Field(
        default=LimitSettings(), description="Limits of all clusters of this profile together."
    )
    options: dict[str, OptionSettings] = Field(default={}, description="Changes to options, by key.")


class Settings(ServiceSettings):
    """Settings of the controller. The environment overrides the file, which overrides the defaults."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_CONTROLLER_", env_nested_delimiter="__")

    backends: dict[str, dict[str, Any]] = Field(
        default={},
        description="Settings of each backend, by the backend's name. Empty means the only installed backend.",
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
        default=None, description="Certificate authority that agents check the endpoint with, PEM."
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
    start_timeout_seconds: float = Field(
        default=60, gt=0, description="Seconds after which a scheduler that is not usable counts as failed."
    )
    worker_start_timeout_seconds: float = Field(
        default=60, gt=0, description="Seconds after which a worker that has not joined its scheduler counts as failed."
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
        default=0,
        ge=0,
        description="Seconds after which a cluster without tasks is stopped, unless a client has futures. 0: never.",
    )
    retention_seconds: float = Field(
        default=86400, ge=0, description="Seconds for which the record and the logs of an ended cluster are kept."
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
        description="Seconds after its launch within which a process must enrol, its wait for room included.",
    )
    certificate_seconds: float = Field(
        default=43200, ge=300, description="Lifetime of the certificates of clients and processes, in seconds."
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
    limits: AllLimits = Field(default=AllLimits(), description="Limits of what may be promised.")
    scheduler: SchedulerSettings = Field(
        default=SchedulerSettings(), description="What a scheduler counts as, where limits bind."
    )
    worker: WorkerDefaults = Field(default=WorkerDefaults(), description="Defaults of the options of workers.")
