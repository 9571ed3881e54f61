"""From the API server's refusal of a pod to the setting that is to blame. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from headrace_backend_kubernetes.faults import ApiError
from headrace_backend_kubernetes.profile_settings import PodSettings, ProfileSettings
from headrace_controller.backends.process import Role

Path = tuple[str | int, ...]
Fault = tuple[Path, str]

_CONTAINER = "spec.containers[0]"
_OF_FIELDS: Mapping[str, str] = {
    f"{_CONTAINER}.image": "image",
    f"{_CONTAINER}.imagePullPolicy": "image_pull_policy",
    f"{_CONTAINER}.env": "environment",
    f"{_CONTAINER}.envFrom": "environment_from",
    f"{_CONTAINER}.resources": "resources",
    f"{_CONTAINER}.securityContext": "container_security_context",
    f"{_CONTAINER}.volumeMounts": "volumes",
    "metadata.labels": "labels",
    "metadata.annotations": "annotations",
    "spec.affinity": "affinity",
    "spec.imagePullSecrets": "image_pull_secrets",
    "spec.nodeSelector": "node_selector",
    "spec.priorityClassName": "priority_class",
    "spec.runtimeClassName": "runtime_class",
    "spec.securityContext": "security_context",
    "spec.serviceAccountName": "service_account",
    "spec.tolerations": "tolerations",
    "spec.topologySpreadConstraints": "topology_spread",
    "spec.volumes": "volumes",
}
_OF_SENTENCES = (  # admission names no field
    (re.compile("PriorityClass", re.IGNORECASE), "spec.priorityClassName"),
    (re.compile("RuntimeClass", re.IGNORECASE), "spec.runtimeClassName"),
    (re.compile("service ?account", re.IGNORECASE), "spec.serviceAccountName"),
)
_OF_POD_SECURITY = (  # what it says first of each kind of violation
    (re.compile("volume"), "spec.volumes"),
    (re.compile("allowPrivilegeEscalation|capabilities|privileged"), f"{_CONTAINER}.securityContext"),
    (re.compile("runAs|seccompProfile"), "spec.securityContext"),
)
_RESOURCES = ("resources", "gpu_resource")
_STRICT = re.compile(r'(unknown|duplicate) field "([^"]+)"')
_UNREADABLE = re.compile(r"^Pod in version \S+ cannot be handled as a Pod: ")
_OF_TYPE = re.compile(r"Go struct field \w+?\.((?:spec|metadata)\.[\w.]+) of type")
_EXAMPLES = re.compile(r" \(e\.g\. .*", re.DOTALL)
_FORBIDDEN = re.compile(r'^pods "[^"]*" is forbidden: ')
_NO_NAMESPACE = re.compile(r'^namespaces "[^"]*" not found')
_NO_RIGHT = re.compile(r"^pods is forbidden: User ")


@dataclass(frozen=True, slots=True)
class Layers:
    """Where settings of a kind of pod may stand in a profile, the closest to the pod first."""

    profile: str
    settings: Sequence[tuple[Path, PodSettings]]

    @classmethod
    def of(cls, key: str, profile: ProfileSettings, role: Role, group: str = "") -> Layers:
        """Return those of a role of a profile, of a group of workers if one is given."""
        found: list[tuple[Path, PodSettings]] = []
        if group in profile.groups:
            found.append((("groups", group), profile.groups[group]))
        found.append(((str(role),), profile.scheduler if role is Role.SCHEDULER else profile.worker))
        return cls(key, [*found, ((), profile)])

    def find(self, *paths: Path) -> Path | None:
        """Return the first of the paths that the closest layer has."""
        for above, settings in self.settings:
            given = settings.model_dump(exclude_unset=True)
            for path in paths:
                if _has(given, path):
                    return *above, *path
        return None


def concerns_policy(error: ApiError) -> bool:
    """Whether a pod was refused for what it is like, not because there is no room, no right or no answer now."""
    message = str(error)
    if error.is_passing or error.code in {401, 409} or "does not support dry run" in message:
        return False
    return not (error.code == 403 and ("exceeded quota" in message or "failed quota" in message))


def is_of_namespace(error: ApiError) -> bool:
    """Whether the namespace is to blame: there is none, or the controller may not create pods in it."""
    message = str(error)
    return bool(_NO_NAMESPACE.match(message) or _NO_RIGHT.match(message))


def faults(error: ApiError, layers: Layers, namespace: str) -> list[Fault]:
    """Return what is wrong in a profile's settings."""
    message = str(error)
    if is_of_namespace(error):
        what = f"{message}; create the namespace {namespace} and give the controller its Role there"
        return [((layers.profile, "namespace"), what)]
    return [
        ((layers.profile, *_path(field, layers)), _reason(field, reason, layers))
        for field, reason in _fields(error, message, layers)
    ]


def _fields(error: ApiError, message: str, layers: Layers) -> Iterator[tuple[str, str]]:
    """Yield each field that is wrong, and why; "" where none is named."""
    if strict := _STRICT.findall(message):
        for kind, field in dict.fromkeys(strict):
            yield field, "there is no such field" if kind == "unknown" else "the field is there twice"
    elif error.code == 422 and error.details.causes:
        for cause in error.details.causes:
            if ".resources.requests[" not in cause.field:  # the same is said of limits
                yield cause.field, _EXAMPLES.sub("", cause.message)
    elif unreadable := _UNREADABLE.match(message):
        found = _OF_TYPE.search(message)
        field = found[1].replace("spec.containers.", f"{_CONTAINER}.") if found else ""
        yield field, "has a value of the wrong type" if field else message[unreadable.end() :]
    else:
        yield _of_sentence(message, layers), _FORBIDDEN.sub("", message)


def _of_sentence(message: str, layers: Layers) -> str:
    """Return the field that a sentence of an admission plugin is about; "" if it cannot be told."""
    if "violates PodSecurity" in message:
        named = (field for pattern, field in _OF_POD_SECURITY if pattern.search(message.partition(": ")[2]))
        return next((field for field in named if _path(field, layers)), "")
    return next((field for pattern, field in _OF_SENTENCES if pattern.search(message)), "")


def _path(field: str, layers: Layers) -> Path:
    return layers.find(*_candidates(field)) or ()


def _candidates(field: str) -> Iterator[Path]:
    """Yield the settings that a field of the pod may come from: what is laid on last first."""
    in_container = field.removeprefix(f"{_CONTAINER}.")
    if in_container != field:
        steps = _steps(in_container)
        for length in range(len(steps), 0, -1):
            yield "extra_container_config", *steps[:length]
    elif field.startswith("spec."):
        steps = _steps(field.removeprefix("spec."))
        for length in range(len(steps), 0, -1):
            yield "extra_pod_config", *steps[:length]
    for known, setting in _OF_FIELDS.items():
        if field == known or field.startswith((f"{known}.", f"{known}[")):
            if setting == "resources":
                yield from ((one,) for one in _RESOURCES)
            yield (setting,)


def _steps(field: str) -> tuple[str, ...]:
    """Return the steps of a field down to its first list: entries of several layers are appended to one another."""
    plain, in_list, _ = field.partition("[")
    return tuple(step for step in plain.split(".") if step) if plain or not in_list else ()


def _has(given: Mapping[str, Any], path: Path) -> bool:
    value: object = given
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return False
        value = cast("Mapping[object, object]", value)[step]
    return value not in (None, "", [], {})


def _reason(field: str, reason: str, layers: Layers) -> str:
    """Return the API server's sentence, with the pod's field, and the other place where it may come from."""
    what = f"{reason} (the pod's {field})" if field else reason
    if _path(field, layers) or not field:
        return what
    return f"{what}; this is not set in the profile, but in backends.kubernetes.pods of the controller's settings"
