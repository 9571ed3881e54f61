"""Profiles and limits, as an administrator writes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field

from headrace_controller import resources
from headrace_controller.model import Limits, Resources
from headrace_controller.policy.durations import Seconds
from headrace_controller.policy.option_settings import OptionChange, OptionSettings
from headrace_controller.policy.sections import Prices, Section, not_a_truth

_MOST = 10**9

Name = Annotated[str, Field(min_length=1, max_length=256)]
ResourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Amount = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False), BeforeValidator(not_a_truth)]
Weight = Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False), BeforeValidator(not_a_truth)]
Key = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class LimitSettings(Section):
    """Limits of one subject; None means no limit."""

    clusters: int | None = Field(default=None, ge=0, le=_MOST, description="Living clusters that do not wait.")
    workers: int | None = Field(default=None, ge=0, le=_MOST, description="Workers of all worker groups.")
    cores: float | None = Field(
        default=None, ge=0, le=_MOST, allow_inf_nan=False, description="Cores of all workers and schedulers."
    )
    memory_bytes: ByteSize | None = Field(
        default=None,
        ge=0,
        le=2**53 - 1,
        description="Memory of all workers and schedulers, in bytes or as text such as '64 GiB'.",
    )
    gpus: int | None = Field(default=None, ge=0, le=_MOST, description="GPUs of all workers.")
    resources: dict[ResourceName, Amount] = Field(
        default={},
        max_length=16,
        description="Other resources of all workers, by name: what profiles count (`counts`), or else what users give "
        "in the option worker_resources.",
    )

    def limits(self) -> Limits:
        """Return them as the store counts."""
        bounds = {
            resources.CLUSTERS: self.clusters,
            resources.WORKERS: self.workers,
            resources.CORES: None if self.cores is None else resources.milli(self.cores),
            resources.MEMORY: None if self.memory_bytes is None else int(self.memory_bytes),
            resources.GPUS: self.gpus,
            **{resources.named(name): resources.milli(amount) for name, amount in self.resources.items()},
        }
        return Limits({resource: bound for resource, bound in bounds.items() if bound is not None})


class ClusterLimitSettings(LimitSettings):
    """Limits of each cluster."""

    workers: int | None = Field(default=1000, ge=0, le=_MOST, description="Workers of all worker groups.")


class UserLimitSettings(LimitSettings):
    """Limits of each user."""

    clusters: int | None = Field(default=100, ge=0, le=_MOST, description="Living clusters that do not wait.")
    workers: int | None = Field(default=1000, ge=0, le=_MOST, description="Workers of all worker groups.")

    def but(self, single: LimitSettings) -> LimitSettings:
        """Return the limits of a single user: what is given for them, and the rest as for everybody."""
        given = {name: getattr(single, name) for name in single.model_fields_set}
        return self.model_copy(update={**given, "resources": {**self.resources, **single.resources}})


class QueueSettings(Section):
    """How clusters wait for room."""

    timeout: Seconds | None = Field(
        default=86400, description="Longest time for which a cluster waits. Users may ask for less. Null: no maximum."
    )
    each: int = Field(default=20, ge=1, le=1000, description="Number of clusters of one user that may wait.")
    weights: dict[str, Weight] = Field(
        default={},
        max_length=1000,
        description="Turns of each member of a group for one turn of others, by group. Of several, the largest counts.",
    )
    patience: Seconds = Field(
        default=300,
        description="Time for which smaller clusters may overtake a large one that waits; then room is kept for it.",
    )


class AllLimits(Section):
    """Limits by subject."""

    deployment: LimitSettings = Field(default=LimitSettings(), description="Limits of all clusters together.")
    groups: dict[Name, LimitSettings] = Field(
        default={}, description="Limits of the clusters of all members of a group together, by group."
    )
    user: UserLimitSettings = Field(
        default=UserLimitSettings(), description="Limits of all clusters of one user together."
    )
    users: dict[Name, LimitSettings] = Field(
        default={}, description="Limits of single users. What is not given is as in `user`."
    )
    cluster: ClusterLimitSettings = Field(default=ClusterLimitSettings(), description="Limits of each cluster.")
    on_create: Literal["reject", "queue"] = Field(
        default="reject",
        description="Answer to a request for a cluster beyond a limit: reject refuses it; queue lets it wait for room.",
    )
    on_scale: Literal["clip", "reject", "queue"] = Field(
        default="clip",
        description="Answer to a request to scale beyond a limit: clip gives as many workers as the limit allows, and "
        "the user is warned; reject refuses the request; queue gives as many as there is room for, and the rest waits.",
    )
    on_lowered: Literal["warn", "scale_down"] = Field(
        default="warn",
        description="What follows when a limit is lowered below what is used: warn tells the clusters above it, which "
        "get no more; scale_down takes workers away as well, those of the newest clusters first.",
    )
    lowered_grace: Seconds = Field(
        default=600,
        description="With `on_lowered: scale_down`, time between the warning and the retirement of workers.",
    )
    queue: QueueSettings = Field(default=QueueSettings(), description="How clusters wait for room.")

    def of_user(self, user: str) -> Limits:
        """Return the limits of a user's clusters together."""
        single = self.users.get(user)
        return (self.user if single is None else self.user.but(single)).limits()


class WorkerDefaults(Section):
    """Defaults of the options of workers."""

    cores: float = Field(default=1.0, gt=0, le=1024, description="Cores of a worker.")
    memory_bytes: ByteSize = Field(
        default=ByteSize(2 * 2**30), ge=0, description="Memory limit of a worker in bytes. 0 means no limit."
    )
    threads_per_core: int = Field(
        default=4,
        ge=1,
        description="Maximum number of threads for each core of a worker, where a limit on cores binds.",
    )


class SchedulerSettings(Section):
    """What a scheduler counts as, where limits bind."""

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


class ProfileSettings(Section):
    """A kind of cluster that users may choose."""

    label: str = Field(default="", max_length=256, description="Label for people. Empty means the profile's key.")
    description: str = Field(default="", max_length=1024, description="Sentence for people.")
    backend: str = Field(default="", description="Backend of its clusters. Empty means the first of `backends`.")
    limits: LimitSettings = Field(
        default=LimitSettings(), description="Limits of all clusters of this profile together."
    )
    counts: dict[ResourceName, Amount] = Field(
        default={},
        max_length=16,
        description="What each worker counts as besides, by the names of `resources` in limits.",
    )
    prices: Prices = Field(default=Prices(), description="What the use of its clusters costs.")
    users: list[Name] = Field(
        default=[], max_length=1000, description="Users who may choose it, beside `groups`. Both empty: everybody."
    )
    groups: list[Name] = Field(
        default=[], max_length=1000, description="Groups whose members may choose it, beside `users`."
    )
    settings: dict[str, Any] = Field(
        default={},
        description="Settings of the profile's backend, such as what the pods of Kubernetes are like; the backend "
        "checks them.",
    )
    options: dict[str, OptionSettings] = Field(
        default={}, max_length=64, description="Changes to options, and new options, by key."
    )
    for_groups: dict[Name, dict[str, OptionChange]] = Field(
        default={},
        max_length=100,
        description="Changes to options for the members of groups, in place of those in `options`. Of several groups "
        "of a user that change an option, the first one here counts.",
    )
    python: str = Field(
        default="",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*)?$",
        max_length=256,
        description="Function `package.module:function` of a user and their groups that returns more options.",
    )
    python_timeout: Seconds = Field(
        default=5, gt=0, le=20, description="Time within which it, and its handler, must have answered."
    )
