"""The sections of a policy that are about time, people and money. Those about profiles and limits: `offers.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from headrace_controller.policy.durations import Seconds


def not_a_truth(value: object) -> object:
    """Refuse true and false where there is a number: Python would take them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number or a text, is {str(value).lower()}")  # noqa: TRY004 pydantic wants it
    return value


class Section(BaseModel):
    """A part of a policy; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _check_truth(cls, value: object, info: ValidationInfo) -> object:
        annotation: Any = cls.model_fields[info.field_name or ""].annotation
        return value if annotation in (bool, Any) else not_a_truth(value)


class Prices(Section):
    """What use costs, in the deployment's currency."""

    core_hour: float = Field(default=0, ge=0, le=1e6, description="Price of a core for an hour.")
    memory_gib_hour: float = Field(default=0, ge=0, le=1e6, description="Price of 1 GiB of memory for an hour.")
    gpu_hour: float = Field(default=0, ge=0, le=1e6, description="Price of a GPU for an hour.")


class CullRule(Section):
    """A rule that gives idle machines back."""

    after: Seconds = Field(description="Time for which the state must have lasted.")
    warn: Seconds = Field(default=300, description="Time before each action at which the users are warned.")
    action: Literal["stop", "scale_to_zero"] = Field(default="stop", description="What is done to the cluster.")
    then_stop: Seconds | None = Field(
        default=None, description="Time after `scale_to_zero` after which the cluster is stopped. Null: never."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warn > self.after:
            raise ValueError("`warn` is longer than `after`: users would be warned before the state began")
        if self.then_stop is not None and self.action == "stop":
            raise ValueError("`then_stop` follows `action: scale_to_zero` only")
        return self


class IdleRule(CullRule):
    """No running or queued work, no data held, no recent activity."""

    after: Seconds = Field(default=1800, description="Time for which the state must have lasted.")
    drop_data: bool = Field(default=False, description="Whether a cluster that still holds data may count as idle.")


class MetricRule(CullRule):
    """A rule of the administrator's own, over metrics."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Name, for events and the log.")
    query: str = Field(
        min_length=1,
        max_length=4096,
        description="PromQL. Clusters in whose series (by the label `cluster`) the value is not 0 are meant.",
    )


class Culling(Section):
    """When clusters are given back. Null switches a rule off."""

    idle: IdleRule | None = Field(default=IdleRule(), description="Idle clusters.")
    nobody_connected: CullRule | None = Field(
        default=None, description="Clusters to which no client is connected, also while they work."
    )
    lifetime: Seconds | None = Field(default=None, description="Maximum age of a cluster. Null: none.")
    keep: Seconds = Field(default=86400, description="Longest time for which users may put culling off at once.")
    keep_total: Seconds = Field(
        default=7 * 86400, description="Longest time for which users may put culling off in all, of each cluster."
    )
    rules: list[MetricRule] = Field(default=[], max_length=50, description="The administrator's own rules.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError("two of `rules` have the same name")
        return self


class Budget(Section):
    """How much a subject may use in a period; what is given binds."""

    per: Literal["day", "week", "month"] = Field(description="Period, in UTC.")
    cost: float | None = Field(default=None, ge=0, le=1e9, description="In the deployment's currency.")
    core_hours: float | None = Field(default=None, ge=0, le=1e9, description="Promised core-hours.")
    gpu_hours: float | None = Field(default=None, ge=0, le=1e9, description="Promised GPU-hours.")
    warn_at: float = Field(default=0.8, gt=0, le=1, description="Share of it at which people are warned.")
    then: Literal["warn", "stop_growing", "stop"] = Field(
        default="stop_growing",
        description="What follows when it is used up: no more than the warning; no cluster is created or grows; or all "
        "are stopped, too.",
    )
    grace: Seconds = Field(
        default=60,
        le=60,
        description="With `then: stop`, time before it is used up at which each cluster warns that it is stopped.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cost is None and self.core_hours is None and self.gpu_hours is None:
            raise ValueError("set `cost`, `core_hours` or `gpu_hours`")
        return self


class Budgets(Section):
    """Budgets by subject."""

    user: list[Budget] = Field(default=[], max_length=10, description="Of each user.")
    users: dict[str, Annotated[list[Budget], Field(max_length=10)]] = Field(
        default={}, description="Of single users, instead of `user`."
    )
    groups: dict[str, Annotated[list[Budget], Field(max_length=10)]] = Field(
        default={}, description="Of all members of a group together."
    )
