"""What an administrator sets for the pods of a profile: `profiles.<key>.settings` of the policy file.

What is a field of Kubernetes is written as Kubernetes writes it (camelCase); keys of our own are in snake_case.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from headrace_backend_kubernetes.reserved import (
    check_container,
    check_name,
    check_plain,
    check_pod,
    check_variable,
    check_volume,
)

Plain = Annotated[dict[str, Any], AfterValidator(check_plain)]
"""A part of a pod, in Kubernetes' own words. The API server checks it."""


def _not_a_truth(value: object) -> object:
    """Refuse yes and no where there is a text or a number: YAML reads an unquoted `yes` as true."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number or a text, is {str(value).lower()}; put it in quotes")  # noqa: TRY004
    return value


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _not_a_truth(value)


def _value(value: object) -> object:
    return {"value": value} if isinstance(value, str | int | float) else value


DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
LooseText = Annotated[str, BeforeValidator(_number_as_text)]
Factor = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_not_a_truth)]
LimitFactor = Annotated[float, Field(ge=1, le=100, allow_inf_nan=False), BeforeValidator(_not_a_truth)]
ResourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9./_-]{0,314}[A-Za-z0-9])?$")]
Variable = Annotated[str, Field(pattern=r"^[-._A-Za-z][-._A-Za-z0-9]{0,255}$"), AfterValidator(check_variable)]
Quantity = Annotated[
    str, Field(pattern=r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?$"), BeforeValidator(_number_as_text)
]
MetaName = Annotated[str, AfterValidator(check_name)]


class Section(BaseModel):
    """A part of the settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VariableValue(Section):
    """Value of a variable, or where it comes from: one of the four. A text stands for `value`."""

    value: LooseText | None = Field(default=None, max_length=32768, description="The value itself.")
    secret: DnsName | None = Field(default=None, description="Secret in the pod's namespace; `key` names its entry.")
    config_map: DnsName | None = Field(
        default=None, description="ConfigMap in the pod's namespace; `key` names its entry."
    )
    field: str | None = Field(default=None, max_length=256, description="Field of the pod, such as `status.hostIP`.")
    key: str = Field(default="", max_length=253, description="Entry of the Secret or ConfigMap.")
    optional: bool = Field(default=False, description="Whether the pod starts without it.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in ("value", "secret", "config_map", "field") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give a text, or one of `secret`, `config_map` and `field`")
        if (given[0] in {"secret", "config_map"}) != bool(self.key):
            raise ValueError("`key` goes with `secret` and `config_map`, and with them only")
        return self


class VariablesSource(Section):
    """A Secret or a ConfigMap, each entry of which becomes a variable."""

    secret: DnsName | None = Field(default=None, description="Secret in the pod's namespace.")
    config_map: DnsName | None = Field(default=None, description="ConfigMap in the pod's namespace.")
    prefix: str = Field(default="", pattern=r"^[-._A-Za-z0-9]{0,64}$", description="Begin of each variable's name.")
    optional: bool = Field(default=False, description="Whether the pod starts without it.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.secret is None) == (self.config_map is None):
            raise ValueError("give either `secret` or `config_map`")
        return self


class Volume(Section):
    """A volume, and where the container has it."""

    path: str = Field(pattern=r"^/[^:]{0,4095}$", description="Path in the container.")
    source: Plain = Field(
        min_length=1, description="Source in Kubernetes' words, such as `persistentVolumeClaim: {claimName: data}`."
    )
    read_only: bool = Field(default=False, description="Whether the container can only read it.")
    sub_path: str = Field(default="", max_length=4096, description="Path in the volume. Empty means all of it.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if f"{self.path}/".startswith("/var/run/secrets/headrace.dev/"):
            raise ValueError("headrace has its own volume at /var/run/secrets/headrace.dev; choose another `path`")
        return self


class PodSettings(Section):
    """What can be said of a pod. Its lists have no bounds of their own: those of several layers are appended."""

    image: str = Field(
        default="",
        max_length=512,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/@-]*)?$",
        description="Image with headrace beside Dask. Users may choose another one with the option `image`, if they "
        "are offered it.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When the image is pulled. Null: Always for the tag `latest`, else IfNotPresent."
    )
    image_pull_secrets: list[DnsName] = Field(default=[], description="Secrets with the logins of private registries.")
    cpu_request_factor: Factor = Field(
        default=1, description="Part of the promised cores that the pod requests; less than 1 packs nodes more tightly."
    )
    cpu_limit_factor: LimitFactor | None = Field(
        default=None,
        description="CPU limit as a multiple of the promised cores. Null: no limit, so idle cores of the node can be "
        "used.",
    )
    memory_request_factor: Factor = Field(
        default=1, description="Part of the promised memory that the pod requests. The limit is the promised memory."
    )
    gpu_resource: ResourceName = Field(
        default="nvidia.com/gpu", description="Extended resource that GPUs are requested as."
    )
    resources: dict[ResourceName, Quantity | None] = Field(
        default={},
        description="Further resources of each pod, as request and limit, such as `ephemeral-storage: 20Gi`.",
    )
    node_selector: dict[str, LooseText | None] = Field(default={}, description="Labels that a node must have.")
    affinity: Plain = Field(default={}, description="Affinity to nodes and pods, in Kubernetes' words.")
    tolerations: list[Plain] = Field(
        default=[], description="Taints of nodes that are tolerated, in Kubernetes' words."
    )
    topology_spread: list[Plain] = Field(
        default=[],
        description="`topologySpreadConstraints` of Kubernetes. Without a `labelSelector`, a cluster's pods of the "
        "same role are spread.",
    )
    lost_node_seconds: int = Field(
        default=30, ge=0, le=86400, description="Time after which pods of a node that does not answer are replaced."
    )
    priority_class: str = Field(default="", max_length=253, description="PriorityClass. Empty: the cluster's default.")
    runtime_class: str = Field(default="", max_length=253, description="RuntimeClass. Empty: the node's default.")
    service_account: str = Field(
        default="",
        max_length=253,
        description="Service account that pods run as. Tenants' code has its rights where a cloud grants them by "
        "identity; its token is not mounted.",
    )
    security_context: Plain = Field(
        default={},
        description="Laid on the pod's securityContext, which the PodSecurity standard `restricted` admits: user 1000, "
        "never root.",
    )
    container_security_context: Plain = Field(
        default={}, description="Laid on the container's securityContext, which has no privileges and no capabilities."
    )
    read_only_root: bool = Field(
        default=False, description="Whether the image's files are read-only. /tmp can be written always."
    )
    scratch_size: str = Field(
        default="",
        pattern=r"^([0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?)?$",
        description="Most that a pod may write to /tmp, where Dask spills to, such as `20Gi`. Empty: as the node has.",
    )
    volumes: dict[Annotated[DnsLabel, AfterValidator(check_volume)], Volume | None] = Field(
        default={}, description="Volumes by name."
    )
    environment: dict[Variable, Annotated[VariableValue, BeforeValidator(_value)] | None] = Field(
        default={},
        description="Environment variables: texts, or where they come from. Users' own variables override them.",
    )
    environment_from: list[VariablesSource] = Field(
        default=[], description="Secrets and ConfigMaps all of whose entries become variables."
    )
    labels: dict[MetaName, LooseText | None] = Field(default={}, description="Labels of the pods.")
    annotations: dict[MetaName, LooseText | None] = Field(default={}, description="Annotations of the pods.")
    termination_grace_period_seconds: int = Field(
        default=30,
        ge=2,
        le=3600,
        description="Time that a pod has for its end; a worker hands its data over in it.",
    )
    extra_pod_config: Annotated[Plain, AfterValidator(check_pod)] = Field(
        default={},
        description="Laid on the pod's `spec`, in Kubernetes' words: mappings merge, lists append, null removes.",
    )
    extra_container_config: Annotated[Plain, AfterValidator(check_container)] = Field(
        default={},
        description="Laid on the Dask container, in Kubernetes' words: mappings merge, lists append, null removes.",
    )


class PodDefaults(PodSettings):
    """What the pods of all profiles start from: `backends.kubernetes.pods` of the controller's settings."""

    scheduler: PodSettings = Field(default=PodSettings(), description="Of schedulers, over those of all pods.")
    worker: PodSettings = Field(default=PodSettings(), description="Of workers, over those of all pods.")


class Standby(Section):
    """Number of pods that are kept ready, belonging to nobody."""

    schedulers: int = Field(default=0, ge=0, le=1000, description="Schedulers that are kept ready.")
    workers: int = Field(default=0, ge=0, le=1000, description="Workers of the default shape that are kept ready.")


class ProfileSettings(PodDefaults):
    """Settings of a profile on Kubernetes: those of all its pods, and what differs for some."""

    namespace: DnsLabel | None = Field(default=None, description="Namespace of the pods. Null: the backend's own.")
    standby: Standby = Field(default=Standby(), description="Pods that are kept ready, so that clusters start at once.")
    groups: dict[Annotated[str, Field(min_length=1, max_length=63)], PodSettings] = Field(
        default={}, max_length=64, description="Of the workers of a group, by its name, over those of all workers."
    )
