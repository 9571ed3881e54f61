"""Why a pending pod waits, as people are told. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace.v1.enums import WaitReason
from headrace_backend_kubernetes.objects import Pod

if TYPE_CHECKING:
    from headrace_backend_kubernetes.statuses import Note

_NODE_COMING = frozenset({"TriggeredScaleUp", "Nominated"})  # by the cluster autoscaler, by Karpenter
_LONGEST_MESSAGE = 1000

TOLD = frozenset({
    *_NODE_COMING, "Pulling", "Pulled", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "Failed",
    "BackOff",
})  # fmt: skip
"""Reasons of the events that this module reads."""


def wait(pod: Pod, note: Note | None) -> tuple[WaitReason | None, str]:
    """Returns why a pod does not run yet, and what Kubernetes says of it."""
    if not pod.spec.node_name:
        return _unscheduled(pod, note)
    for each in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = each.state.waiting
        if waiting and waiting.reason in {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"}:
            return WaitReason.IMAGE_PULL, _cut(waiting.message)
    if note is None or note.reason == "Pulled" or note.reason in _NODE_COMING:
        return WaitReason.STARTING, ""
    if note.reason == "Pulling":
        return WaitReason.IMAGE_PULL, _cut(f"image {pod.image}{_since(note.since)}")
    return WaitReason.STARTING, _cut(note.message)


def _unscheduled(pod: Pod, note: Note | None) -> tuple[WaitReason | None, str]:
    scheduled = pod.condition("PodScheduled")
    message = scheduled.message if scheduled and scheduled.status == "False" else ""
    if note and note.reason in _NODE_COMING:
        return WaitReason.NODE_COMING, _cut(note.message or message)
    return (WaitReason.UNSCHEDULABLE, _cut(message)) if message else (None, "")


def _since(seconds: float) -> str:
    return f", since {datetime.fromtimestamp(seconds, UTC):%H:%M:%S} UTC" if seconds else ""


def _cut(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 3]}..."
