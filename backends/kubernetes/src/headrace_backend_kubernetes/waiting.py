"""Why a pending pod waits, as people are told, and what events say of pods. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.v1.enums import WaitReason
from headrace_backend_kubernetes.messages import one_line
from headrace_backend_kubernetes.objects import Event, Pod

_NODE_COMING = frozenset({"TriggeredScaleUp", "Nominated"})  # by the cluster autoscaler, by Karpenter

_NO_NODE = frozenset({"NotTriggerScaleUp", "FailedScaleUp", "FailedScheduling"})
"""By the cluster autoscaler, by that of GKE when its cloud has no machine, by Karpenter."""

_EVICTED = "Evicted"
_TOLD = frozenset({
    *_NODE_COMING, *_NO_NODE, _EVICTED, "Pulling", "Pulled", "FailedMount", "FailedAttachVolume",
    "FailedCreatePodSandBox", "Failed", "BackOff",
})  # fmt: skip
_ONLY_OF = {_EVICTED: "kubelet", "FailedScheduling": "karpenter"}
"""The component that is believed, by the reason: others may not mean it so, or say what the pod itself says, too."""

_PULL_ERROR = re.compile(r"Error: (ErrImagePull|ImagePullBackOff)")  # all that some events say


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """The last event that says why a pod waits, or the first that says that it is evicted."""

    reason: str
    message: str
    since: float = 0.0

    @property
    def evicted(self) -> bool:
        """Whether its node evicts the pod, for which there is no way back."""
        return self.reason == _EVICTED


def is_told(event: Event) -> bool:
    """Whether an event says why a pod waits, or that its node evicts it."""
    return event.reason in _TOLD and _ONLY_OF.get(event.reason, event.component) == event.component


def wait(pod: Pod, note: Note | None) -> tuple[WaitReason | None, str]:
    """Returns why a pod does not run yet, and what Kubernetes says of it."""
    if not pod.spec.node_name:
        return _unscheduled(pod, note)
    for each in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = each.state.waiting
        if waiting and waiting.reason in {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"}:
            return WaitReason.IMAGE_PULL, one_line(waiting.message)
    if note is None or note.reason == "Pulled" or note.reason in _NODE_COMING | _NO_NODE:
        return WaitReason.STARTING, ""
    if note.reason == "Pulling" or _PULL_ERROR.fullmatch(note.message):
        return WaitReason.IMAGE_PULL, one_line(f"image {pod.image}{_since(note.since)}")
    pulls = note.reason in {"Failed", "BackOff"} and "pull" in note.message.lower()
    return WaitReason.IMAGE_PULL if pulls else WaitReason.STARTING, one_line(note.message)


def _unscheduled(pod: Pod, note: Note | None) -> tuple[WaitReason | None, str]:
    scheduled = pod.condition("PodScheduled")
    message = scheduled.message if scheduled and scheduled.status == "False" else ""
    if note and note.reason in _NODE_COMING:
        return WaitReason.NODE_COMING, one_line(note.message or message)
    if note and note.reason in _NO_NODE:
        return WaitReason.NO_NODE_COMING, one_line(note.message.rstrip(": ") or message)
    return (WaitReason.UNSCHEDULABLE, one_line(message)) if message else (None, "")


def _since(seconds: float) -> str:
    return f", since {datetime.fromtimestamp(seconds, UTC):%H:%M:%S} UTC" if seconds else ""
