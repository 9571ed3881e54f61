"""Pods in standby: what they are, for which processes they fit, and how one is given to a cluster. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from headrace.tracing import TRACEPARENT
from headrace_backend_kubernetes import labels, node_autoscalers
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.process_pods import ProcessPods, manifest_annotation
from headrace_chassis.environment import needs_fresh_interpreter
from headrace_controller.backends.process import ProcessKey, ProcessSpec, Role

_NOBODY = ProcessKey("", "")
_PLACE = ("profile", "group")  # labels of a process that its template depends on

_OF_EVERY_POD = {labels.DEPLOYMENT, labels.ROLE, *labels.OF_THE_PLATFORM}

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StandbyPod:
    """A pod of nobody, without a name, and the hash of all that decides what can become of it.

    Attributes
    ----------
    for_autoscalers
        What it tells node autoscalers once it is a process; None of what it does not tell any more.
    """

    namespace: str
    kind: str
    body: Plain
    for_autoscalers: Mapping[str, str | None]


def standby_pod(spec: ProcessSpec, pods: ProcessPods, templates: PodTemplates) -> StandbyPod | None:
    """Returns the pod in standby that can become a process; None if it needs one of its own.

    Two processes have the same if nothing but their identity and their users' environment differs: the environment
    comes when the process enrols. Some variables have no effect by then.
    """
    if needs_fresh_interpreter(spec.environment.keys() - {TRACEPARENT}):
        return None
    place = {name: value for name, value in spec.labels.items() if name in _PLACE}
    nobody = replace(
        spec, key=_NOBODY, owner="", generation=0, environment={}, labels=place, manifest=b"", agent_token=""
    )
    body = pods.of(nobody, templates)
    metadata = body["metadata"]
    del metadata["name"]
    for name in {labels.SEAL, *labels.labels_of(nobody, ""), *labels.annotations_of(nobody, "")} - _OF_EVERY_POD:
        metadata["labels"].pop(name, None)
        metadata["annotations"].pop(name, None)
    for_autoscalers = {name: metadata["annotations"].pop(name, None) for name in node_autoscalers.ANNOTATIONS}
    metadata["annotations"] |= node_autoscalers.OF_STANDBY
    body["spec"]["containers"][0]["args"] += ["--standby"]
    kind = sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:20]
    metadata["labels"][labels.STANDBY] = kind
    return StandbyPod(metadata["namespace"], kind, body, for_autoscalers)


def with_name(standby: StandbyPod, name: str, pods: ProcessPods) -> Plain:
    """Returns the pod in standby with a name, to be created."""
    metadata = standby.body["metadata"]
    body = {**standby.body, "metadata": {**metadata, "name": name, "annotations": {**metadata["annotations"]}}}
    pods.seal(body)
    return body


def giving(pod: Pod, standby: StandbyPod, spec: ProcessSpec, pods: ProcessPods, now: float) -> list[Plain]:
    """Returns the JSON patch that gives a pod in standby to a cluster, unless somebody else has given it before."""
    named = labels.labels_of(spec, pods.deployment)
    annotations = {
        **labels.annotations_of(spec, pods.deployment),
        **manifest_annotation(spec.manifest),
        labels.GIVEN: str(int(now)),
    }
    annotations[labels.SEAL] = pods.seals.of(pod.namespace, pod.name, named[labels.ROLE], annotations)
    return [
        *_unchanged(pod),
        {"op": "remove", "path": _path("labels", labels.STANDBY)},
        {"op": "remove", "path": _path("labels", labels.READY)},
        *_set("labels", named),
        *_set("annotations", annotations),
        *_for_autoscalers(standby),
    ]


def withdrawing(pod: Pod) -> list[Plain]:
    """Returns the JSON patch after which nobody gives the pod to a cluster, so that it can be deleted."""
    return [*_unchanged(pod), {"op": "replace", "path": _path("labels", labels.STANDBY), "value": WITHDRAWN}]


WITHDRAWN = "withdrawn"


def kind_of(pod: Pod) -> str:
    """Returns the hash of what a pod in standby can become."""
    return pod.metadata.labels.get(labels.STANDBY, "")


def is_ready(pod: Pod) -> bool:
    """Whether it waits for its cluster."""
    return labels.READY in pod.metadata.labels and not pod.done and pod.metadata.deletion_timestamp is None


def _unchanged(pod: Pod) -> list[Plain]:
    """Tests that it is this very pod, and still in standby."""
    return [
        {"op": "test", "path": "/metadata/uid", "value": pod.uid},
        {"op": "test", "path": _path("labels", labels.STANDBY), "value": kind_of(pod)},
    ]


def _for_autoscalers(standby: StandbyPod) -> Iterable[Plain]:
    for name, value in standby.for_autoscalers.items():
        if value is not None:
            yield from _set("annotations", {name: value})
        elif name in node_autoscalers.OF_STANDBY:
            yield {"op": "remove", "path": _path("annotations", name)}


def _set(of: str, values: Mapping[str, str]) -> Iterable[Plain]:
    return ({"op": "add", "path": _path(of, name), "value": value} for name, value in values.items())


def _path(of: str, name: str) -> str:
    escaped = name.replace("~", "~0").replace("/", "~1")
    return f"/metadata/{of}/{escaped}"


def wanted(spec: ProcessSpec, templates: PodTemplates) -> int:
    """Returns how many pods in standby the administrator wants of a pattern."""
    profile = templates.profiles.get(spec.labels.get("profile", ""))
    if profile is None:
        return 0
    return profile.standby.schedulers if spec.role is Role.SCHEDULER else profile.standby.workers
