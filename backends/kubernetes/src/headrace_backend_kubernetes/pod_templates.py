"""Makes the pod of a process, but for its identity, from what the administrator has set. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from headrace.v1.enums import ExitCause
from headrace_backend_kubernetes import labels, node_autoscalers
from headrace_backend_kubernetes.layers import layered
from headrace_backend_kubernetes.merging import merge, without_nulls
from headrace_backend_kubernetes.profile_settings import (
    PodDefaults,
    PodSettings,
    ProfileSettings,
    VariablesSource,
    VariableValue,
)
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import ProcessSpec, Role
from headrace_controller.model import Resources

AGENT = ("python", "-m", "headrace.agent")
"""Arguments of the container; an image's ENTRYPOINT runs before them."""

SCRATCH = "headrace-scratch"

NAMESPACE = "namespace"
"""Name of what is fixed for a cluster besides its images."""

_NOBODY = 1000
_POD_SECURITY = {
    "runAsNonRoot": True,
    # An image that names its user, or none, could not be verified to be not root.
    "runAsUser": _NOBODY,
    "runAsGroup": _NOBODY,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_LOST_NODE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

Plain = dict[str, Any]


class PodTemplates:
    """Pods of processes, as the policy in force says.

    Parameters
    ----------
    defaults
        What the pods of all profiles start from.
    profiles
        Settings of each profile, by its key. A profile that is not there has the defaults.
    namespace
        Namespace of the pods of profiles that name none.
    """

    def __init__(self, defaults: PodDefaults, profiles: Mapping[str, ProfileSettings], namespace: str = "") -> None:
        self.defaults = defaults
        self.profiles = dict(profiles)
        self._own_namespace = namespace
        self._layered: dict[tuple[str, Role, str], PodSettings] = {}

    def of(self, spec: ProcessSpec) -> Plain:
        """Return the pod of a process: its image, command, environment, sizes and placement, which may be changed.

        It has no name, and nothing that tells whose it is. Raises `BackendError` if no image is set.
        """
        profile = spec.labels.get("profile", "")
        settings = self.settings(profile, spec.role, spec.labels.get("group", ""))
        image = spec.settings.get("image") or settings.image
        if not image:
            raise BackendError(
                f"profile {profile!r} has no image; the administrator sets one as profiles.{profile}.settings.image, "
                "or for all profiles as backends.kubernetes.pods.image",
                cause=ExitCause.REFUSED,
            )
        container = _container(settings, str(image), spec)
        pod: Plain = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": settings.termination_grace_period_seconds,
            "securityContext": merge(_POD_SECURITY, settings.security_context),
            "containers": [],
            "volumes": _volumes(settings),
            "tolerations": [*settings.tolerations, *_tolerations(settings.lost_node_seconds)],
            **_placement(settings, spec.role),
        }
        pod = without_nulls(merge(pod, settings.extra_pod_config))
        pod.setdefault("volumes", [])
        pod["containers"] = [container]
        metadata = {
            "namespace": self.namespace_of(spec),
            "labels": settings.labels,
            "annotations": {**node_autoscalers.annotations_of(spec.role), **settings.annotations},
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": without_nulls(metadata), "spec": pod}

    def settings(self, profile: str, role: Role, group: str = "") -> PodSettings:
        """Return what is set for the pods of a role, of a group of workers if one is given."""
        key = profile, role, group if group in self._profile(profile).groups and role is Role.WORKER else ""
        if key not in self._layered:
            self._layered[key] = layered(self.defaults, self._profile(profile), role, key[2])
        return self._layered[key]

    def fixed(self, profile: str) -> dict[str, dict[str, str]]:
        """Return what holds for the life of a new cluster: by role, and by ``worker/{group}`` where groups differ."""
        worker = self.settings(profile, Role.WORKER).image
        groups = {group: self.settings(profile, Role.WORKER, group).image for group in self._profile(profile).groups}
        images = {str(Role.SCHEDULER): self.settings(profile, Role.SCHEDULER).image, str(Role.WORKER): worker}
        images |= {f"{Role.WORKER}/{group}": image for group, image in groups.items() if image != worker}
        namespace = self.namespace(profile)
        every = {of: {"image": image, NAMESPACE: namespace} for of, image in images.items()}
        return {of: {key: value for key, value in values.items() if value} for of, values in every.items()}

    def namespace(self, profile: str) -> str:
        """Return the namespace of the pods of a profile's new clusters."""
        return self._profile(profile).namespace or self._own_namespace

    def namespace_of(self, spec: ProcessSpec) -> str:
        """Return the namespace of a process's pod: the one in which its cluster was created."""
        return str(spec.settings.get(NAMESPACE) or self.namespace(spec.labels.get("profile", "")))

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces of the pods of all profiles."""
        return frozenset({self._own_namespace, *(one.namespace or "" for one in self.profiles.values())} - {""})

    def _profile(self, key: str) -> ProfileSettings:
        return self.profiles.get(key, _NOTHING)


_NOTHING = ProfileSettings()


def literal(value: str) -> str:
    """Return the value of a variable as a pod must have it: Kubernetes would replace `$(NAME)` and `$$`."""
    return value.replace("$", "$$")


def _container(settings: PodSettings, image: str, spec: ProcessSpec) -> Plain:
    container: Plain = {
        "name": labels.CONTAINER,
        "image": image,
        "args": list(AGENT),
        "env": _environment(settings, spec.environment),
        "resources": _resources(settings, spec.resources),
        "securityContext": merge(_container_security(settings), settings.container_security_context),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(settings),
    }
    if settings.image_pull_policy is not None:
        container["imagePullPolicy"] = settings.image_pull_policy
    if settings.environment_from:
        container["envFrom"] = list(map(_variables_source, settings.environment_from))
    container = without_nulls(merge(container, settings.extra_container_config))
    container["env"] = _unique(container.get("env", []))
    container.setdefault("volumeMounts", [])
    return container


def _resources(settings: PodSettings, promised: Resources) -> Plain:
    """Return requests and limits: whole millicores and bytes, as limits of the policy count them."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if cpu := round(promised.cores * 1000):
        requests["cpu"] = f"{_part(cpu, settings.cpu_request_factor)}m"
        if settings.cpu_limit_factor is not None:
            limits["cpu"] = f"{_part(cpu, settings.cpu_limit_factor)}m"
    if memory := promised.memory_bytes:
        requests["memory"] = str(_part(memory, settings.memory_request_factor))
        limits["memory"] = str(memory)
    further = {name: amount for name, amount in settings.resources.items() if amount is not None}
    if promised.gpus:
        further[settings.gpu_resource] = str(promised.gpus)
    return {"requests": {**requests, **further}, "limits": {**limits, **further}}


def _part(amount: int, factor: float) -> int:
    return amount if factor == 1 else max(1, round(amount * factor))


def _environment(settings: PodSettings, users: Mapping[str, str]) -> list[Plain]:
    found = {name: _variable(name, value) for name, value in settings.environment.items() if value is not None}
    found |= {name: {"name": name, "value": literal(value)} for name, value in users.items()}
    return list(found.values())


def _variable(name: str, value: VariableValue) -> Plain:
    if value.value is not None:
        return {"name": name, "value": literal(value.value)}
    if value.field is not None:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": value.field}}}
    kind, of = ("secretKeyRef", value.secret) if value.secret is not None else ("configMapKeyRef", value.config_map)
    return {"name": name, "valueFrom": {kind: {"name": of, "key": value.key, "optional": value.optional}}}


def _variables_source(source: VariablesSource) -> Plain:
    kind, of = ("secretRef", source.secret) if source.secret is not None else ("configMapRef", source.config_map)
    return {kind: {"name": of, "optional": source.optional}, **({"prefix": source.prefix} if source.prefix else {})}


def _unique(variables: Sequence[Plain]) -> list[Plain]:
    """Keep the last of several variables of one name, as a container would see it."""
    return list({variable.get("name", index): variable for index, variable in enumerate(variables)}.values())


def _container_security(settings: PodSettings) -> Plain:
    return {**_CONTAINER_SECURITY, "readOnlyRootFilesystem": True} if settings.read_only_root else _CONTAINER_SECURITY


def _volumes(settings: PodSettings) -> list[Plain]:
    scratch = {"sizeLimit": settings.scratch_size} if settings.scratch_size else {}
    given = [{"name": name, **volume.source} for name, volume in settings.volumes.items() if volume is not None]
    return [{"name": SCRATCH, "emptyDir": scratch}, *given]


def _mounts(settings: PodSettings) -> list[Plain]:
    mounts: list[Plain] = [{"name": SCRATCH, "mountPath": "/tmp"}]  # noqa: S108 the pod's own
    for name, volume in settings.volumes.items():
        if volume is None:
            continue
        mount: Plain = {"name": name, "mountPath": volume.path}
        if volume.read_only:
            mount["readOnly"] = True
        if volume.sub_path:
            mount["subPath"] = volume.sub_path
        mounts.append(mount)
    return mounts


def _tolerations(seconds: int) -> list[Plain]:
    return [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for key in _LOST_NODE
    ]


def _placement(settings: PodSettings, role: Role) -> Plain:
    given: Plain = {
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "nodeSelector": settings.node_selector,
        "affinity": settings.affinity,
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
        "serviceAccountName": settings.service_account,
        "topologySpreadConstraints": [_spread(one, role) for one in settings.topology_spread],
    }
    return {key: value for key, value in given.items() if value}


def _spread(constraint: Plain, role: Role) -> Plain:
    """Return a constraint; without a selector it counts the pods of the same role and of the pod's own cluster."""
    if "labelSelector" in constraint:
        return constraint
    return {
        **constraint,
        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": str(role)}},
        "matchLabelKeys": [*cast("list[str]", constraint.get("matchLabelKeys", [])), "headrace.dev/cluster"],
    }
