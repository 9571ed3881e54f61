"""The parts of the API server's objects that we read.

Thousands of pods change often, so only these fields are decoded; the official client's models take many times as long.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct, field

from headrace_backend_kubernetes import labels
from headrace_controller.backends.process import ProcessKey, Role


class Slim(Struct, rename="camel", gc=False):
    """A part of an object, spelled as in the API."""


class Named(Slim):
    """What the objects of lists and watches have for certain."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""


class Metadata(Slim):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None  # when it is gone at the latest
    deletion_grace_period_seconds: int = 0
    labels: dict[str, str] = field(default_factory=dict[str, str])
    annotations: dict[str, str] = field(default_factory=dict[str, str])


class Container(Slim):
    name: str = ""
    image: str = ""


class PodSpec(Slim):
    containers: list[Container] = field(default_factory=list[Container])
    node_name: str = ""
    active_deadline_seconds: int = 0
    termination_grace_period_seconds: int = 30


class Condition(Slim):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Waiting(Slim):
    reason: str = ""
    message: str = ""


class Running(Slim):
    started_at: datetime | None = None


class Terminated(Slim):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContainerState(Slim):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Slim):
    name: str = ""
    state: ContainerState = field(default_factory=ContainerState)
    last_state: ContainerState = field(default_factory=ContainerState)
    restart_count: int = 0


class PodIp(Slim):
    ip: str = ""


class PodStatus(Slim):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: list[Condition] = field(default_factory=list[Condition])
    container_statuses: list[ContainerStatus] = field(default_factory=list[ContainerStatus])
    init_container_statuses: list[ContainerStatus] = field(default_factory=list[ContainerStatus])
    pod_ips: list[PodIp] = field(default_factory=list[PodIp], name="podIPs")


class Pod(Slim):
    """A pod of this deployment."""

    metadata: Metadata
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus = field(default_factory=PodStatus)

    def trim(self) -> Pod:
        """Drops what nobody reads, and the ends of texts that tenants may make long: thousands of pods are kept."""
        metadata, status = self.metadata, self.status
        metadata.labels = {key: metadata.labels[key] for key in labels.READ_LABELS if key in metadata.labels}
        metadata.annotations = {
            key: metadata.annotations[key] for key in labels.READ_ANNOTATIONS if key in metadata.annotations
        }
        # Webhooks may put containers of their own first.
        found = sorted(self.spec.containers, key=lambda each: each.name != labels.CONTAINER)
        self.spec.containers = found[:1]
        status.conditions = [each for each in status.conditions if each.type in _READ_CONDITIONS]
        status.message = status.message[:_LONGEST_TEXT]
        for condition in status.conditions:
            condition.message = condition.message[:_LONGEST_TEXT]
        for each in (*status.init_container_statuses, *status.container_statuses):
            if waiting := each.state.waiting:
                waiting.message = waiting.message[:_LONGEST_TEXT]
            for ended in filter(None, (each.state.terminated, each.last_state.terminated)):
                ended.message = ended.message[-_LONGEST_TEXT:]  # why a program ended, it says last
        return self

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def version(self) -> int:
        """Grows with each change of the pod."""
        return int(self.metadata.resource_version or 0)

    @property
    def key(self) -> ProcessKey | None:
        """The process that it is; None for one that belongs to no cluster yet."""
        return ProcessKey(self.cluster, self.process) if self.cluster and self.process else None

    @property
    def cluster(self) -> str:
        """Id of its cluster; empty for one in standby."""
        return self.metadata.annotations.get(labels.CLUSTER, "")

    @property
    def process(self) -> str:
        """Its process in the cluster; empty for one in standby."""
        return self.metadata.annotations.get(labels.PROCESS, "")

    @property
    def role(self) -> Role:
        return Role.SCHEDULER if self.metadata.labels.get(labels.ROLE) == Role.SCHEDULER else Role.WORKER

    @property
    def generation(self) -> int:
        text = self.metadata.annotations.get(labels.GENERATION, "0")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0

    @property
    def stopped(self) -> bool:
        """Whether headrace stops it."""
        return labels.STOPPED in self.metadata.annotations

    @property
    def ended(self) -> bool:
        """Whether it runs nothing any more; it stays until somebody deletes it."""
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def done(self) -> bool:
        """Whether it runs no Dask process any more; its phase may say so only later."""
        return self.ended or self.main.terminated is not None

    @property
    def is_outlived(self) -> bool:
        """Whether a container of others, which a webhook put into it, outlives the Dask process, and nobody ends it."""
        is_ending = self.metadata.deletion_timestamp or self.spec.active_deadline_seconds == _DEADLINE
        if self.main.terminated is None or is_ending:
            return False
        return any(each.state.terminated is None for each in self.status.container_statuses)

    @property
    def is_removed(self) -> bool:
        """Whether the API server is removing it now."""
        return self.metadata.deletion_timestamp is not None and not self.metadata.deletion_grace_period_seconds

    @property
    def deleted_first(self) -> bool:
        """Whether somebody else had asked to delete it before it had ended.

        The API server gives one that has ended no grace, so nobody's clock has to say what came first. Headrace itself
        ends what has begun by a deadline.
        """
        by_headrace = self.stopped and self.spec.active_deadline_seconds != _DEADLINE
        in_order = self.metadata.deletion_timestamp is not None and self.metadata.deletion_grace_period_seconds > 0
        return in_order and not by_headrace

    @property
    def created(self) -> float:
        """Time at which it was created, in seconds since the epoch."""
        return self.metadata.creation_timestamp.timestamp() if self.metadata.creation_timestamp else 0.0

    @property
    def launched(self) -> float:
        """Time at which it was created for its cluster, or given to it from standby."""
        text = self.metadata.annotations.get(labels.GIVEN, "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else self.created

    @property
    def began(self) -> float:
        """Time at which its process was started, in seconds since the epoch; 0 if it was not."""
        at = self.main.running.started_at if self.main.running else None
        return at.timestamp() if at else 0.0

    @property
    def ips(self) -> list[str]:
        return [each.ip for each in self.status.pod_ips if each.ip]

    @property
    def image(self) -> str:
        return self.spec.containers[0].image if self.spec.containers else ""

    @property
    def main(self) -> ContainerState:
        """The state of the container that runs Dask."""
        name = self.spec.containers[0].name if self.spec.containers else ""
        return next((each.state for each in self.status.container_statuses if each.name == name), _NOTHING)

    @property
    def as_owner(self) -> dict[str, str]:
        """A reference to it from an object that is to be removed with it."""
        return {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.uid}

    def condition(self, kind: str) -> Condition | None:
        return next((each for each in self.status.conditions if each.type == kind), None)


_DEADLINE = 1  # the least that Kubernetes takes

END = {"spec": {"activeDeadlineSeconds": _DEADLINE}}
"""A patch after which the kubelet ends a pod with its own grace; it stays, with its exit code and its log."""

_NOTHING = ContainerState()
_READ_CONDITIONS = frozenset({"PodScheduled", "Initialized", "Ready", "DisruptionTarget"})
_LONGEST_TEXT = 2000  # people are told less


class ListMetadata(Slim):
    resource_version: str = ""
    continue_: str = field(default="", name="continue")


class PodList(Slim):
    metadata: ListMetadata
    items: list[msgspec.Raw] = field(default_factory=list[msgspec.Raw])


class Involved(Slim):
    name: str = ""
    namespace: str = ""
    uid: str = ""


class Secret(Slim):
    data: dict[str, str] = field(default_factory=dict[str, str])  # in base64


class Source(Slim):
    component: str = ""


class Event(Slim):
    """What a component of Kubernetes says of a pod."""

    involved_object: Involved = field(default_factory=Involved)
    source: Source = field(default_factory=Source)
    reporting_component: str = ""
    reason: str = ""
    message: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    first_timestamp: datetime | None = None

    @property
    def component(self) -> str:
        """Who says it; where that stands depends on the API by which it was said."""
        return self.source.component or self.reporting_component


class EventList(Slim):
    metadata: ListMetadata
    items: list[Event] = field(default_factory=list[Event])


class Cause(Slim):
    """A field that is wrong, and why."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(Slim):
    retry_after_seconds: int = 0
    causes: list[Cause] = field(default_factory=list[Cause])


class Status(Slim):
    """What the API server answers when it does not do what it was asked."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details = field(default_factory=Details)


class NamedObject(Slim):
    metadata: Named


class Notice(Slim):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


_decode_pod = msgspec.json.Decoder(Pod).decode


def decode_pod(content: msgspec.Raw | bytes | str) -> Pod:
    """Decodes what is read of a pod."""
    return _decode_pod(content).trim()


decode_pods = msgspec.json.Decoder(PodList).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_events = msgspec.json.Decoder(EventList).decode
decode_secret = msgspec.json.Decoder(Secret).decode
decode_status = msgspec.json.Decoder(Status).decode
decode_named = msgspec.json.Decoder(NamedObject).decode
decode_notice = msgspec.json.Decoder(Notice).decode
