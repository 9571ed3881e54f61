"""Why a pod has ended, never starts, or is being ended by others. Pure.

Who runs pods and images that are not ours words what goes wrong; we sort it by the words that the kubelet and the
container runtimes use, and hand the sentence on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.v1.enums import ExitCause
from headrace_backend_kubernetes.messages import one_line
from headrace_backend_kubernetes.objects import ContainerStatus, Pod, Terminated, Waiting
from headrace_backend_kubernetes.waiting import Note


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a process does not run, or not much longer; a message for people where the cause says too little."""

    cause: ExitCause
    message: str = ""
    exit_code: int | None = None


# --- ended ---

_DISRUPTIONS = {
    "PreemptionByScheduler": ExitCause.PREEMPTED,
    "EvictionByEvictionAPI": ExitCause.EVICTED,
    "TerminationByKubelet": ExitCause.EVICTED,
    "DeletionByTaintManager": ExitCause.NODE_LOST,
    "DeletionByPodGC": ExitCause.NODE_LOST,
}
_POD_REASONS = {
    "Evicted": ExitCause.EVICTED,
    "Preempting": ExitCause.PREEMPTED,
    "Terminated": ExitCause.EVICTED,  # the node shut down in order
    "NodeShutdown": ExitCause.EVICTED,
    "Shutdown": ExitCause.EVICTED,
    "NodeLost": ExitCause.NODE_LOST,
    "NodeAffinity": ExitCause.REFUSED,
    "OutOfcpu": ExitCause.START_FAILED,
    "OutOfmemory": ExitCause.START_FAILED,
    "OutOfpods": ExitCause.START_FAILED,
    "UnexpectedAdmissionError": ExitCause.START_FAILED,
}
_RAISE_LIMIT = "write less to disk, or ask an administrator to raise the limit in the profile"
# What a kubelet writes of a pod that it evicts, and what its user can do about it.
_EVICTION_ADVICE = (
    ("low on resource: memory", "raise worker_memory, or use smaller chunks"),
    ("low on resource: ephemeral-storage", "write less to disk, or raise worker_memory so that less is spilled"),
    (
        '"headrace-scratch" exceeds the limit',
        "write less to /tmp and spill less, or ask an administrator to raise scratch_size of the profile",
    ),
    ("exceeds the limit", "write less to it, or ask an administrator to raise its sizeLimit in the profile"),
    ("exceeds the total limit of containers", _RAISE_LIMIT),
    ("exceeded its local ephemeral storage limit", _RAISE_LIMIT),
)
_NO_MODULE = re.compile(r"No module named '?(headrace|distributed|dask)(\.[\w.]+)?'?")
_NOT_FOUND = re.compile(r"executable file not found|no such file or directory", re.IGNORECASE)


def pod_ending(pod: Pod) -> Ending | None:
    """Returns why others than the process itself ended a pod; None if nobody did."""
    if disruption := _disruption(pod):
        return disruption
    cause = _POD_REASONS.get(pod.status.reason)
    return Ending(cause, _with_advice(one_line(pod.status.message or pod.status.reason))) if cause else None


def eviction(pod: Pod, note: Note | None) -> Ending | None:
    """Returns that others evict a pod from its node, or have done so; None if nobody says so.

    Of a node an event says it first; its pod says it when it has ended, unless it did so before it was killed.
    """
    if note and note.evicted:
        return Ending(ExitCause.EVICTED, _with_advice(one_line(note.message)))
    disruption = _disruption(pod)
    return None if disruption and disruption.cause is ExitCause.NODE_LOST else disruption


def container_ending(pod: Pod) -> Ending:
    """Returns how the process itself ended."""
    ended = pod.main.terminated
    if ended is None:
        return _init_ending(pod) or Ending(ExitCause.START_FAILED, one_line(pod.status.message or pod.status.reason))
    if ended.reason == "OOMKilled":
        return Ending(ExitCause.OUT_OF_MEMORY, "", ended.exit_code)
    if ended.reason in {"StartError", "ContainerCannotRun"}:
        return Ending(ExitCause.START_FAILED, _start_error(pod.image, ended), ended.exit_code)
    if ended.exit_code and (missing := _NO_MODULE.search(ended.message)):
        return Ending(ExitCause.START_FAILED, _lacks(pod.image, missing[1]), ended.exit_code)
    return Ending(ExitCause.EXITED, "", ended.exit_code)


def _init_ending(pod: Pod) -> Ending | None:
    for each in pod.status.init_container_statuses:
        if (ended := each.state.terminated) and ended.exit_code:
            return Ending(
                ExitCause.START_FAILED,
                one_line(f"init container {each.name} ended with exit code {ended.exit_code}: {ended.message.strip()}"),
                ended.exit_code,
            )
    return None


def _start_error(image: str, ended: Terminated) -> str:
    sentence = one_line(ended.message)
    if _NOT_FOUND.search(ended.message) and '"python"' in ended.message:
        return f"image {image} has no Python in its PATH: {sentence}"
    return sentence


def _lacks(image: str, module: str) -> str:
    if module == "headrace":
        return f"image {image} has no headrace: build one with `pip install headrace[dask]` beside its Dask"
    return f"image {image} has no Dask: build one with `pip install headrace[dask]`"


# --- will never start ---

_CONFIG_ERRORS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
# What a kubelet tries again although it calls it an error: its caches or the container runtime are late.
_LATE = re.compile(
    r"timed out waiting for the condition|deadline ?exceeded|code = Unavailable|is reserved for|not registered",
    re.IGNORECASE,
)
_PULL_ERRORS = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
_SIDECAR_RESTARTS = 2
_NEVER_PULLED = re.compile(
    r"not found|manifest unknown|does not exist|name unknown|pull access denied|insufficient_scope|unauthorized"
    r"|authorization failed|403 forbidden|denied:|no match for platform|invalid reference",
    re.IGNORECASE,
)
# A registry that is away says this, whatever else is in the sentence.
_AWAY = re.compile(
    r"no such host|timeout|timed out|connection (refused|reset)|server misbehaving|network is unreachable"
    r"|toomanyrequests|\b(429|50[0234])\b|TLS handshake|unexpected EOF",
    re.IGNORECASE,
)


def never_starts(pod: Pod) -> Ending | None:
    """Returns why a pending pod can never run; None if it may."""
    for each in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if (waiting := each.state.waiting) and (ending := _hopeless(each, waiting)):
            return ending
    return _sidecar_ending(pod)


def _hopeless(container: ContainerStatus, waiting: Waiting) -> Ending | None:
    if waiting.reason in {"InvalidImageName", "ErrImageNeverPull"}:
        return Ending(ExitCause.IMAGE_UNAVAILABLE, one_line(waiting.message or waiting.reason))
    if waiting.reason in _PULL_ERRORS and is_permanent_pull_error(waiting.message):
        return Ending(ExitCause.IMAGE_UNAVAILABLE, one_line(waiting.message))
    if waiting.reason in _CONFIG_ERRORS and not _LATE.search(waiting.message):
        return Ending(
            ExitCause.START_FAILED, one_line(f"container {container.name}: {waiting.message or waiting.reason}")
        )
    return None


def _sidecar_ending(pod: Pod) -> Ending | None:
    """Returns that a sidecar which must have started before Dask does never will; it may fail a few times."""
    initialized = pod.condition("Initialized")
    if initialized and initialized.status == "True":
        return None
    for each in pod.status.init_container_statuses:
        waiting, ended = each.state.waiting, each.last_state.terminated or Terminated()
        if waiting and waiting.reason == "CrashLoopBackOff" and each.restart_count >= _SIDECAR_RESTARTS:
            why = f"sidecar {each.name} ends again and again, the last time with exit code {ended.exit_code}"
            said = ended.message.strip()
            return Ending(ExitCause.START_FAILED, one_line(f"{why}: {said}" if said else why), ended.exit_code)
    return None


def is_permanent_pull_error(message: str) -> bool:
    """Whether an image cannot be pulled by trying again."""
    return bool(_NEVER_PULLED.search(message)) and not _AWAY.search(message)


# --- being ended by others ---


def leaving(pod: Pod, note: Note | None) -> Ending | None:
    """Returns why others are ending a pod that may still run; None if nobody is, or headrace itself.

    A worker that is evicted hands its data over, whereupon headrace may stop it before it has heard who ended it.
    """
    if evicted := eviction(pod, note):
        return evicted
    if pod.stopped and not pod.deleted_first:
        return None
    if disruption := _disruption(pod):
        return disruption
    return Ending(ExitCause.DELETED) if pod.metadata.deletion_timestamp else None


def abandoned(pod: Pod, *, overdue: bool) -> Ending | None:
    """Returns that a pod's node is lost; its containers are reported as running by nobody then.

    The node's pods are marked as not ready before they are deleted. A node that is only drained reports them ready, and
    ends them in time; `overdue` says that it has not.
    """
    if pod.status.reason == "NodeLost":
        return Ending(ExitCause.NODE_LOST, one_line(pod.status.message))
    disruption, ready = _disruption(pod), pod.condition("Ready")
    lost = disruption is not None and disruption.cause is ExitCause.NODE_LOST
    if lost and pod.metadata.deletion_timestamp and (overdue or (ready and ready.status != "True")):
        return disruption
    return None


def _disruption(pod: Pod) -> Ending | None:
    said = pod.condition("DisruptionTarget")
    if said is None or said.status != "True":
        return None
    return Ending(_DISRUPTIONS.get(said.reason, ExitCause.EVICTED), _with_advice(one_line(said.message)))


def _with_advice(sentence: str) -> str:
    advice = next((advice for words, advice in _EVICTION_ADVICE if words in sentence), "")
    return f"{sentence.rstrip('. ')}: {advice}" if advice else sentence
