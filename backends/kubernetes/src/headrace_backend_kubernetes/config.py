"""Settings of the Kubernetes backend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace_backend_kubernetes.profile_settings import DnsLabel, PodDefaults


class Settings(BaseModel):
    """Settings of the Kubernetes backend, ``backends.kubernetes`` of the controller's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(
        default="",
        max_length=63,
        description="Namespace of the pods. Empty means the controller's own, or the one of `kubeconfig`'s context. "
        "A profile may name another.",
    )
    namespaces: list[DnsLabel] = Field(
        default=[],
        description="Further namespaces in which pods are looked for: those that were once named here or by a profile "
        "and may have clusters, which then are also adopted after a loss of the store.",
    )
    kubeconfig: Path | None = Field(
        default=None,
        description="File that says where the API server is and as whom to call it. Unset means the controller's own "
        "service account.",
    )
    context: str = Field(default="", description="Context of `kubeconfig`; empty means its current one.")
    agent_endpoint: str = Field(
        default="",
        description="gRPC target at which pods reach the controller, such as `headrace-controller:50051`. Empty means "
        "the controller's own `listen` address, which pods seldom reach.",
    )
    pods: PodDefaults = Field(
        default=PodDefaults(), description="What the pods of all profiles start from; see docs/profiles.md."
    )
    requests_per_second: float = Field(
        default=100, gt=0, le=10_000, description="Pods that are created, changed or deleted each second, at most."
    )
    burst: int = Field(
        default=200, ge=1, le=10_000, description="Such requests that may be made at once after a quiet time."
    )
    enrolment: Literal["token-review", "secret"] = Field(
        default="token-review",
        description="How pods prove who they are. `token-review`: with a token of their service account, which the API "
        "server reviews; the controller must be allowed to create tokenreviews. `secret`: with a token that the "
        "controller writes into a Secret of each cluster; there are no pods in standby then.",
    )
    token_seconds: int = Field(
        default=3600,
        ge=600,
        le=86_400,
        description="Life of the service account token with which a pod enrols; Kubernetes renews it.",
    )
    ended_pods_per_cluster: int = Field(
        default=20, ge=0, le=10_000, description="Ended pods of a running cluster that are kept for their logs."
    )
    ended_pods: int = Field(
        default=2000, ge=0, le=100_000, description="Ended pods of all clusters that are kept for their logs."
    )
