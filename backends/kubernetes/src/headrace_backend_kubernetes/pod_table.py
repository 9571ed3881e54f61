"""The pods of a deployment in memory, the status of each process, and the stream of their changes."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import TypeVar

from headrace.v1.enums import ExitCause
from headrace_backend_kubernetes.objects import Event, Pod
from headrace_backend_kubernetes.statuses import deleted, status_of
from headrace_backend_kubernetes.waiting import Note, is_told
from headrace_chassis.logs import get_logger
from headrace_controller.backends.changes import ChangeFeed
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessState, ProcessStatus

log = get_logger()

V = TypeVar("V")

_UNKNOWN_NOTES = 1000  # of pods that the other watch has not shown yet


class PodTable:
    """Keeps the newest version of each pod, by what the watches and the answers to requests say, in any order.

    Parameters
    ----------
    remembered
        Number of processes whose pod is gone that are remembered; the oldest are discarded.
    late_seconds
        Time after its grace in which the node of a pod that is deleted must have ended it.
    """

    def __init__(self, *, remembered: int, late_seconds: float = 15.0) -> None:
        self.feed = ChangeFeed()
        self.ended: OrderedDict[str, Pod] = OrderedDict()
        """Pods that have ended and can be deleted, by uid, oldest first."""
        self.hopeless: dict[str, Pod] = {}
        """Pods that stay as they are although their process has exited, by uid: never started, of a lost node, or
        changed by somebody while in standby."""
        self.outlived: dict[str, Pod] = {}
        """Pods whose Dask process has ended, and in which another container runs on, by uid."""
        self.standby: dict[str, Pod] = {}
        """Pods that belong to no cluster, by uid."""
        self.changed = asyncio.Event()
        """Set when a pod was added to `ended`, `hopeless`, `outlived` or `standby`, or left the latter."""
        self.on_standby: Callable[[Pod], None] = lambda _pod: None
        """Called with each version of a pod in standby, with the one that belongs to a cluster, and with its end."""
        self._remembered = remembered
        self._late_seconds = late_seconds
        self._overdue: dict[str, bool] = {}  # of pods that were to be deleted, by uid: whether they should be gone
        self._pods: dict[tuple[str, str], Pod] = {}
        self._processes: dict[str, dict[str, tuple[Pod, ProcessStatus]]] = {}
        self._gone: OrderedDict[ProcessKey, None] = OrderedDict()
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._notes: dict[str, Note] = {}
        self._early_notes: OrderedDict[str, Note] = OrderedDict()
        self._waiting: dict[str, asyncio.Event] = {}
        self._exits: dict[ProcessKey, list[asyncio.Future[None]]] = {}
        self._closed = False

    # --- what it is told ---

    def accept(self, pod: Pod) -> None:
        """Accepts a version of a pod, unless a newer one or its deletion is known."""
        place = pod.namespace, pod.name
        known = self._pods.get(place)
        if pod.uid in self._deleted:
            return
        if known and known.uid == pod.uid and (known.version >= pod.version or known.key not in {None, pod.key}):
            return  # or somebody has changed what it says it is
        if known and known.uid != pod.uid:
            if known.version > pod.version:
                return
            self.delete(known)
        self._pods[place] = pod
        if pod.uid in self._early_notes:
            self._notes[pod.uid] = self._early_notes.pop(pod.uid)
        self._sort_in(pod)

    def delete(self, pod: Pod) -> None:
        """Accepts that a pod is gone. A process that ran in it has exited, and is remembered for a while."""
        place = pod.namespace, pod.name
        known = self._pods.get(place)
        _keep(self._deleted, pod.uid, None, most=4 * self._remembered + 1000)
        note = self._notes.pop(pod.uid, None)
        self._overdue.pop(pod.uid, None)
        was_kept = self.ended.pop(pod.uid, None) is not None
        for kept in (self.hopeless, self.outlived, self.standby):
            kept.pop(pod.uid, None)
        if known is None or known.uid != pod.uid:
            return
        del self._pods[place]
        if known.key is None:
            self.changed.set()
            self.on_standby(known)  # the last version may say anything: its seal is not looked at
        elif (found := self._find(known.key)) and found[0].uid == pod.uid:
            if was_kept or (known.done and not known.metadata.deletion_timestamp):
                self._discard(known.key)  # it was there for its log only, whether or not its phase has said so yet
            else:
                newest = max(known, pod, key=_version) if pod.key == known.key else known
                self._lose(newest, deleted(found[1], newest, note))

    def disown(self, pod: Pod) -> None:
        """Accepts that somebody has changed what a pod says it is. A process stays what it was known as.

        A pod in standby is given to nobody, and is to be deleted.
        """
        if pod.uid in self.standby:
            self.delete(pod)
            self.hopeless[pod.uid] = pod

    def replace(
        self,
        namespace: str,
        pods: Iterable[Pod],
        version: int,
        *,
        before: Mapping[str, float],
        unread: Collection[str] = (),
    ) -> None:
        """Accepts all pods of a namespace, as they were at a version; those that are missing are gone.

        Parameters
        ----------
        before
            What `versions` returned before the pods were asked for. Nothing can be older now, unless the API server's
            store was restored from a back-up: then the pods are what it says.
        unread
            Uids of those that are there, and stay as they were known.
        """
        fresh = {pod.uid: pod for pod in pods}
        there = fresh.keys() | unread
        for (where, _), known in list(self._pods.items()):
            if where == namespace and known.uid not in there and (known.version <= version or known.uid in before):
                self.delete(known)
        for pod in fresh.values():
            try:
                if pod.version < before.get(pod.uid, 0):
                    self._go_back_to(pod)
                else:
                    self.accept(pod)
            except Exception:  # one pod must not hide the others; logged in full
                log.exception("pod cannot be read", namespace=namespace, pod=pod.name)

    def note(self, event: Event) -> None:
        """Accepts what a component of Kubernetes says of a pod, if it says why the pod waits or is evicted."""
        about = event.involved_object
        if not is_told(event):
            return
        said = Note(
            reason=event.reason,
            message=event.message,
            since=event.first_timestamp.timestamp() if event.first_timestamp else 0.0,
        )
        pod = self._pods.get((about.namespace, about.name))
        if pod is None or pod.uid != about.uid:
            _keep(self._early_notes, about.uid, said, most=_UNKNOWN_NOTES)
        elif self._is_news(pod, said):
            self._notes[pod.uid] = said
            self._sort_in(pod)

    def forget(self, cluster: str) -> None:
        """Discards what is known of a cluster."""
        for pod, _ in self._processes.pop(cluster, {}).values():
            self._pods.pop((pod.namespace, pod.name), None)
            self._gone.pop(ProcessKey(cluster, pod.process), None)
            _keep(self._deleted, pod.uid, None, most=4 * self._remembered + 1000)
            for kept in (self.ended, self.hopeless, self.outlived, self._notes, self._overdue):
                kept.pop(pod.uid, None)
            self._wake_exits(ProcessKey(cluster, pod.process))
        self._wake(cluster)

    def close(self) -> None:
        """Ends all streams of changes."""
        self._closed = True
        self.feed.close()
        for cluster in list(self._waiting):
            self._wake(cluster)

    # --- what it knows ---

    def find(self, namespace: str, name: str) -> Pod | None:
        """Returns a pod by its name, one in standby too."""
        return self._pods.get((namespace, name))

    def of_uid(self, uid: str) -> Pod | None:
        """Returns a pod by its uid. That takes long with many pods, unless it is in standby."""
        return self.standby.get(uid) or next((pod for pod in self._pods.values() if pod.uid == uid), None)

    def pod(self, key: ProcessKey) -> Pod | None:
        """Returns the pod of a process, as it was last; it may be gone."""
        found = self._find(key)
        return found[0] if found else None

    def pods(self, cluster: str) -> list[Pod]:
        """Returns the pods of a cluster's processes."""
        return [pod for pod, _ in self._processes.get(cluster, {}).values()]

    def versions(self) -> Mapping[str, float]:
        """Returns the version of each pod by its uid, infinity of one that is gone."""
        return {
            **{pod.uid: pod.version for pod in self._pods.values()},
            **dict.fromkeys(self._deleted, math.inf),
        }

    def exists(self, pod: Pod) -> bool:
        """Whether the API server has a pod, as far as is known."""
        known = self._pods.get((pod.namespace, pod.name))
        return known is not None and known.uid == pod.uid

    def statuses(self, cluster: str | None = None) -> list[ProcessStatus]:
        """Returns the status of each process, of one cluster or of all."""
        chosen = self._processes.values() if cluster is None else [self._processes.get(cluster, {})]
        return [status for _, status in chain.from_iterable(of_cluster.values() for of_cluster in chosen)]

    def runs(self, key: ProcessKey) -> bool:
        """Whether a process runs or is about to."""
        found = self._find(key)
        return found is not None and found[1].state is not ProcessState.EXITED

    def running(self, cluster: str, processes: Collection[str] | None = None) -> list[Pod]:
        """Returns the pods of a cluster's processes that have not exited."""
        return [
            pod
            for name, (pod, status) in self._processes.get(cluster, {}).items()
            if status.state is not ProcessState.EXITED and (processes is None or name in processes)
        ]

    def schedulers(self) -> list[Pod]:
        """Returns the pods of all schedulers that have not exited."""
        every = chain.from_iterable(of_cluster.values() for of_cluster in self._processes.values())
        return [
            pod for pod, status in every if status.state is not ProcessState.EXITED and status.key.process == SCHEDULER
        ]

    async def exited(self, key: ProcessKey) -> None:
        """Returns when a process has exited or nothing is known of it any more."""
        if self.runs(key):
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._exits.setdefault(key, []).append(waiting)
            await waiting

    def next_change(self, cluster: str) -> asyncio.Event | None:
        """Returns an event that is set at the next change of a cluster; None once this table is closed."""
        return None if self._closed else self._waiting.setdefault(cluster, asyncio.Event())

    # --- how it keeps it ---

    def _go_back_to(self, pod: Pod) -> None:
        """Accepts a version of a pod that is older than the one that was known, or of a pod that was gone."""
        if pod.uid in self._deleted and pod.metadata.deletion_timestamp:
            return  # it has yet to go
        self._deleted.pop(pod.uid, None)
        place = pod.namespace, pod.name
        if (known := self._pods.get(place)) and known.uid == pod.uid and known.key == pod.key:
            del self._pods[place]
            for kept in (self.ended, self.hopeless, self._overdue):
                kept.pop(pod.uid, None)
        if pod.key and (found := self._find(pod.key)) and found[0].uid != pod.uid and not self.exists(found[0]):
            self._discard(pod.key)  # a later launch, which was never
        self.accept(pod)

    def _sort_in(self, pod: Pod) -> None:
        key = pod.key
        if key is None:
            self.standby[pod.uid] = pod
            self.changed.set()
            self.on_standby(pod)
            return
        if self.standby.pop(pod.uid, None):
            self.changed.set()
            self.on_standby(pod)
        if pod.ended:
            self._sort_in_ended(pod)
        if pod.is_outlived:
            self.outlived[pod.uid] = pod
            self.changed.set()
        else:
            self.outlived.pop(pod.uid, None)
        found = self._find(key)
        if found and found[0].uid != pod.uid and _age(found[0]) > _age(pod):
            return  # an older pod of a process that was launched again
        status = status_of(key, pod, self._notes.get(pod.uid), overdue=self._is_overdue(pod))
        if found and found[0].uid == pod.uid and _ended_before(found[1], status, pod):
            status = found[1]
        if status.state is ProcessState.EXITED and not pod.done:
            self.hopeless[pod.uid] = pod
            self.changed.set()
        self._gone.pop(key, None)
        self._publish(pod, status)

    def _sort_in_ended(self, pod: Pod) -> None:
        if pod.uid in self.ended or not pod.metadata.deletion_timestamp:
            self.ended[pod.uid] = pod
        self.hopeless.pop(pod.uid, None)
        if not self._is_evicted(pod):
            self._notes.pop(pod.uid, None)
        self.changed.set()

    def _is_news(self, pod: Pod, said: Note) -> bool:
        """Whether an event changes what is known of a pod. Once it is evicted, nothing does."""
        if pod.done or self._is_evicted(pod):
            return False
        return said.evicted or pod.status.phase == "Pending"

    def _is_evicted(self, pod: Pod) -> bool:
        note = self._notes.get(pod.uid)
        return note is not None and note.evicted

    def _is_overdue(self, pod: Pod) -> bool:
        """Whether a pod should be gone by now; looks again when it should be."""
        if pod.metadata.deletion_timestamp is None or pod.done:
            return False
        if pod.uid not in self._overdue:
            self._overdue[pod.uid] = False
            late = pod.metadata.deletion_grace_period_seconds + self._late_seconds
            asyncio.get_running_loop().call_later(late, self._look_again, pod)
        return self._overdue[pod.uid]

    def _look_again(self, deleted: Pod) -> None:
        pod = self.find(deleted.namespace, deleted.name)
        if deleted.uid in self._overdue and pod and pod.uid == deleted.uid:
            self._overdue[pod.uid] = True
            self._sort_in(pod)

    def _lose(self, pod: Pod, status: ProcessStatus) -> None:
        key = status.key
        self._publish(pod, status)
        self._gone[key] = None
        while len(self._gone) > self._remembered:
            self._discard(self._gone.popitem(last=False)[0])

    def _discard(self, key: ProcessKey) -> None:
        of_cluster = self._processes.get(key.cluster, {})
        of_cluster.pop(key.process, None)
        if not of_cluster:
            self._processes.pop(key.cluster, None)
        self._wake(key.cluster)

    def _publish(self, pod: Pod, status: ProcessStatus) -> None:
        key = status.key
        of_cluster = self._processes.setdefault(key.cluster, {})
        before = of_cluster.get(key.process)
        of_cluster[key.process] = pod, status
        if before is None or before[1] != status:
            self.feed.publish(status)
            self._wake(key.cluster)
        if status.state is ProcessState.EXITED:
            self._wake_exits(key)

    def _find(self, key: ProcessKey) -> tuple[Pod, ProcessStatus] | None:
        return self._processes.get(key.cluster, {}).get(key.process)

    def _wake(self, cluster: str) -> None:
        if event := self._waiting.pop(cluster, None):
            event.set()

    def _wake_exits(self, key: ProcessKey) -> None:
        for waiting in self._exits.pop(key, ()):
            if not waiting.done():
                waiting.set_result(None)


def _ended_before(known: ProcessStatus, now: ProcessStatus, pod: Pod) -> bool:
    """Whether a process had ended before its pod was deleted, which then says nothing of how it ended.

    The last version of a pod that is deleted no longer has the grace that it was given.
    """
    return known.state is ProcessState.EXITED and (pod.is_removed or now.exit_cause is ExitCause.DELETED)


def _keep(kept: OrderedDict[str, V], key: str, value: V, *, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)


def _age(pod: Pod) -> tuple[int, float, int]:
    """The greater, the later a process was launched as this pod."""
    return pod.generation, pod.launched, pod.version


def _version(pod: Pod) -> int:
    return pod.version
