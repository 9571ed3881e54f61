"""Workers and events of a cluster, as Python objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from headrace._wire.words import event_type, word
from headrace.sizes import describe_bytes
from headrace.v1 import cluster_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEvent:
    """Something that happened to a cluster.

    Attributes
    ----------
    time
        Time at which it happened, in UTC.
    severity
        "info", "warning" or "error".
    type
        What happened, such as "WorkersLost".
    message
        The same as a sentence.
    cluster
        Id of the cluster.
    wait_reason
        Why processes wait to run: "unschedulable", "node_coming" or "image_pull"; else "".
    exit_cause
        Why processes ended, are being ended or cannot start, as in `WorkerExit.cause`; else "".
    """

    time: datetime
    severity: str
    type: str
    message: str
    cluster: str
    wait_reason: str = ""
    exit_cause: str = ""

    @classmethod
    def from_proto(cls, event: cluster_pb2.ClusterEvent) -> ClusterEvent:
        """Make it from the event of the contract."""
        return cls(
            time=event.time.ToDatetime(tzinfo=UTC),
            severity=word(cluster_pb2.Severity.DESCRIPTOR, event.severity).lower(),
            type=event_type(event.type),
            message=event.message,
            cluster=event.name.removeprefix("clusters/").partition("/")[0],
            wait_reason=_wait_reason(event.wait_reason),
            exit_cause=_exit_cause(event.exit_cause),
        )


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How the process of a worker exited.

    Attributes
    ----------
    cause
        "stopped" by headrace, "exited" by itself, "out_of_memory", or "start_failed". By the platform that runs it:
        "image_unavailable", "refused" or "quota_exceeded" if it never ran, "evicted", "preempted", "node_lost", or
        "deleted" by somebody else.
    exit_code
        Exit code, negative for a signal. None if unknown.
    time
        Time at which the exit was noticed, in UTC.
    """

    cause: str
    exit_code: int | None
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker as headrace knows it.

    Attributes
    ----------
    name
        Id of the worker.
    group
        Name of its worker group.
    state
        "pending", "running", "retiring", "closed" or "failed".
    address
        Address as the scheduler knows it. "" before the worker joins.
    host
        Host that it runs on. "" if unknown.
    cores, memory_bytes, gpus
        What it may use. A memory of 0 means no limit.
    create_time
        Time at which it was launched, in UTC.
    message
        What it waits for or why it ended, in a sentence.
    exit
        How its process exited. None while it runs.
    wait_reason
        Why it does not run yet: "unschedulable", "node_coming", "image_pull" or "starting". "" if unknown, or it runs.
    leaving
        Why the platform is ending it, such as "preempted"; it hands its data over meanwhile. "" if it is not.
    """

    name: str
    group: str
    state: str
    address: str
    host: str
    cores: float
    memory_bytes: int
    gpus: int
    create_time: datetime
    message: str
    exit: WorkerExit | None
    wait_reason: str = ""
    leaving: str = ""

    def __repr__(self) -> str:
        memory = f", memory={describe_bytes(self.memory_bytes)}" if self.memory_bytes else ""
        return f"Worker<{self.name}, {self.state}, cores={self.cores:g}{memory}>"

    @classmethod
    def from_proto(cls, worker: cluster_pb2.Worker) -> Worker:
        """Make it from the worker of the contract."""
        return cls(
            name=worker.name.rpartition("/")[2],
            group=worker.group,
            state=word(cluster_pb2.WorkerState.DESCRIPTOR, worker.state).lower(),
            address=worker.address,
            host=worker.host,
            cores=worker.resources.cores,
            memory_bytes=worker.resources.memory_bytes,
            gpus=worker.resources.gpus,
            create_time=worker.create_time.ToDatetime(tzinfo=UTC),
            message=worker.message,
            exit=_to_exit(worker.exit) if worker.HasField("exit") else None,
            wait_reason=_wait_reason(worker.wait_reason),
            leaving=_exit_cause(worker.leaving),
        )


def _to_exit(process: cluster_pb2.ProcessExit) -> WorkerExit:
    exit_code = process.exit_code if process.HasField("exit_code") else None
    return WorkerExit(_exit_cause(process.cause), exit_code, process.time.ToDatetime(tzinfo=UTC))


def _exit_cause(cause: int) -> str:
    return word(cluster_pb2.ExitCause.DESCRIPTOR, cause).lower()


def _wait_reason(reason: int) -> str:
    return word(cluster_pb2.WaitReason.DESCRIPTOR, reason).lower()
