"""Profiles and limits, as an administrator writes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

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
