"""Keeps pods in standby, and gives them to clusters.

Which pods there are, and whose they are, the API server alone knows: several controllers may give and keep at the same
time. A pod is given by a patch of its labels that fails if somebody else was faster.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex

from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.process_pods import ProcessPods
from headrace_backend_kubernetes.standby_pods import StandbyPod, giving, is_ready, kind_of, with_name, withdrawing
from headrace_chassis.logs import get_logger
from headrace_controller.backends.base import Assignment, BackendError
from headrace_controller.backends.process import ProcessSpec

log = get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0
_AT_ONCE = 10  # pods of a kind that are created in one round
_READY_SECONDS = 300.0  # imports on a busy node take a minute
_CHECK_SECONDS = 60.0
_NAME = "dask-standby-"


@dataclass(slots=True)
class _Failures:
    """Pods of a kind that ended, or were refused, since the last one that was ready."""

    number: int = 0
    retry_at: float = 0.0

    def add(self, now: float) -> None:
        self.number += 1
        self.retry_at = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self.number - 1, 16))


class StandbyPool:
    """The pods in standby of a deployment.

    Parameters
    ----------
    pods
        Makes and seals the deployment's pods.
    make
        Returns the pod in standby that can become a process; None if the process needs one of its own.
    clock
        Measures pauses; nobody sets it.
    """

    def __init__(
        self,
        api: Api,
        table: PodTable,
        pods: ProcessPods,
        make: Callable[[ProcessSpec], StandbyPod | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._table = table
        self._pods = pods
        self._make = make
        self._clock = clock
        self._wanted: dict[str, tuple[StandbyPod, int]] | None = None
        self._failures: dict[str, _Failures] = {}
        self._taken: set[str] = set()
        self._running_since: dict[str, float] = {}  # by our clock, which that of a node may differ from
        self._waiting: dict[str, asyncio.Future[Assignment]] = {}
        self._changed = asyncio.Event()
        table.on_standby = self._on_change

    # --- given to clusters ---

    async def take(self, specs: Sequence[ProcessSpec]) -> list[ProcessSpec]:
        """Gives ready pods to processes; returns those for which there is none.

        Raises `BackendError` when all were tried, if it is not known of some whether they have a pod now.
        """
        ready = Counter(pod.role for pod in self._table.standby.values() if is_ready(pod))
        tried: list[ProcessSpec] = []
        for spec in specs:  # no more than can be given: whether a pod fits takes a moment to find out
            if ready[spec.role]:
                ready[spec.role] -= 1
                tried.append(spec)
        given = await asyncio.gather(*map(self._give, tried), return_exceptions=True)
        for outcome in given:
            if isinstance(outcome, BaseException):
                raise outcome
        done = {spec.key for spec, was_given in zip(tried, given, strict=True) if was_given}
        return [spec for spec in specs if spec.key not in done]

    async def _give(self, spec: ProcessSpec) -> bool:
        if (fitting := self._make(spec)) is None:
            return False
        while pod := self._next(fitting):
            self._taken.add(pod.uid)
            try:
                self._table.accept(
                    await self._api.json_patch_pod(pod, giving(pod, fitting, spec, self._pods, time.time()))
                )
            except (ApiError, Unreachable) as error:
                if await self._was_given(pod, spec):
                    return True
                # Somebody else was faster, or deletes it. What else is wrong would be so for a new pod, too.
                log.info("a pod in standby was not to be had", pod=pod.name, error=str(error))
            except asyncio.CancelledError:
                self._taken.discard(pod.uid)  # it may have been given: the next try asks for it again
                raise
            else:
                return True
            finally:
                asyncio.get_running_loop().call_later(_FIRST_PAUSE, self._taken.discard, pod.uid)
        return False

    async def _was_given(self, pod: Pod, spec: ProcessSpec) -> bool:
        """Whether a pod belongs to a process although giving it has failed: the answer to an earlier try was lost.

        Raises `BackendError` if that cannot be found out. The process must not be launched twice, so the next try asks
        for this pod again.
        """
        try:
            there = await self._api.get_pod(pod.namespace, pod.name)
        except (ApiError, Unreachable) as error:
            self._taken.discard(pod.uid)
            raise backend_error(
                f"it is not known whether pod {pod.name} was given to {spec.key.process}", error
            ) from error
        if there is None or there.uid != pod.uid or there.key != spec.key or not self._pods.seals.is_good(there):
            return False
        self._table.accept(there)
        return True

    def _next(self, fitting: StandbyPod) -> Pod | None:
        for pod in self._table.standby.values():
            if (
                pod.namespace == fitting.namespace
                and kind_of(pod) == fitting.kind
                and is_ready(pod)
                and pod.uid not in self._taken
            ):
                return pod
        return None

    # --- waiting ---

    async def stand_by(self, uid: str) -> Assignment:
        """Marks a pod as ready; returns what it becomes, once this replica sees whose it is."""
        pod = self._table.of_uid(uid)
        if pod is None:
            raise BackendError("its pod is not known yet")
        if given := _assignment(pod):
            return given
        waiting = self._waiting[uid] = asyncio.get_running_loop().create_future()
        try:
            if not is_ready(pod):
                await self._mark_ready(pod)
            return await waiting
        finally:
            if waiting is self._waiting.get(uid):
                del self._waiting[uid]

    async def _mark_ready(self, pod: Pod) -> None:
        try:
            marked = await self._api.patch_pod(pod, {"metadata": {"labels": {labels.READY: "true"}}})
        except (ApiError, Unreachable) as error:
            raise backend_error(f"pod {pod.name} cannot be marked as ready", error) from error
        if marked:
            self._table.accept(marked)

    # --- kept ---

    def keep(self, patterns: Sequence[tuple[ProcessSpec, int]] | None) -> None:
        """Keeps that many pods of each pattern from now on, and deletes all others; None: another replica does it."""
        if patterns is None:
            self._wanted = None
            return
        wanted: dict[str, tuple[StandbyPod, int]] = {}
        for spec, number in patterns:
            if number and (pod := self._make(spec)):
                wanted[pod.kind] = pod, number + (wanted[pod.kind][1] if pod.kind in wanted else 0)
        self._wanted = wanted
        self._failures = {kind: failures for kind, failures in self._failures.items() if kind in wanted}
        self._changed.set()

    async def run(self) -> None:
        """Replaces pods that were given away or have ended, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._changed.wait()
            self._changed.clear()
            if self._wanted is not None:
                try:
                    await self._reconcile(self._wanted)
                except (ApiError, Unreachable) as error:
                    log.warning("pods in standby cannot be kept; will try again", error=str(error))
                    asyncio.get_running_loop().call_later(_FIRST_PAUSE, self._changed.set)
                except Exception:  # logged in full; processes start without
                    log.exception("pods in standby cannot be kept; will try again")
                    asyncio.get_running_loop().call_later(_FIRST_PAUSE, self._changed.set)

    def _pause(self) -> float | None:
        """Seconds until a kind that has failed is tried again, or pods that are not ready are looked at."""
        if not self._wanted:
            return None
        now = self._clock()
        retries = [failures.retry_at for failures in self._failures.values() if failures.retry_at > now]
        return min([*retries, now + _CHECK_SECONDS]) - now + 0.01

    async def _reconcile(self, wanted: dict[str, tuple[StandbyPod, int]]) -> None:
        alive: dict[str, list[Pod]] = {}
        useless: list[Pod] = []
        here = self._table.standby
        self._running_since = {uid: since for uid, since in self._running_since.items() if uid in here}
        for pod in list(here.values()):
            kind = kind_of(pod)
            if pod.metadata.deletion_timestamp is not None:
                continue
            if why := self._useless(pod):
                if kind in wanted:
                    self._failed(kind, f"pod {pod.name} {why}")
                await self._api.delete_pod(pod, grace_seconds=0)
                self._table.delete(pod)
            elif kind in wanted:
                alive.setdefault(kind, []).append(pod)
            else:
                useless.append(pod)
        for kind, (standby, number) in wanted.items():
            pods = sorted(alive.get(kind, []), key=is_ready, reverse=True)
            useless += pods[number:]
            await self._create(standby, number, pods)
        await asyncio.gather(*map(self._withdraw, useless))

    def _useless(self, pod: Pod) -> str:
        """Returns why a pod will never be ready; "" if it is, or may be soon."""
        if pod.done:
            said = pod.main.terminated.message.strip() if pod.main.terminated else pod.status.message
            return f"has ended: {said[-300:] or 'it says nothing'}"
        if pod.main.running is None or is_ready(pod):
            return ""
        if self._clock() - self._running_since.setdefault(pod.uid, self._clock()) < _READY_SECONDS:
            return ""
        return f"runs for {_READY_SECONDS:.0f} s and has not reached the controller"

    async def _create(self, standby: StandbyPod, number: int, pods: Sequence[Pod]) -> None:
        """Creates what is missing of a kind; after a failure one pod, and no other before that one is ready."""
        failures = self._failures.get(standby.kind)
        if failures and (self._clock() < failures.retry_at or not all(map(is_ready, pods))):
            return
        for _ in range(min(number - len(pods), 1 if failures else _AT_ONCE)):
            name = _NAME + token_hex(5)
            body = with_name(standby, name, self._pods)
            try:
                self._table.accept(await self._api.create_pod(standby.namespace, body))
            except ApiError as error:
                self._failed(standby.kind, f"pod {name} is refused: {error}")
                return

    async def _withdraw(self, pod: Pod) -> None:
        try:
            if kind_of(pod):  # else nobody can give it
                await self._api.json_patch_pod(pod, withdrawing(pod))
            await self._api.delete_pod(pod)
        except ApiError as error:  # it was given to a cluster just now, which the watch shows soon, or is refused
            log.info("a pod in standby could not be withdrawn; will look again", pod=pod.name, error=str(error))
            asyncio.get_running_loop().call_later(_FIRST_PAUSE, self._changed.set)

    def _failed(self, kind: str, why: str) -> None:
        failures = self._failures.setdefault(kind, _Failures())
        failures.add(self._clock())
        log.warning(
            "a pod in standby has failed; will try again",
            why=why,
            failures=failures.number,
            seconds=round(failures.retry_at - self._clock(), 1),
        )

    def _on_change(self, pod: Pod) -> None:
        if (given := _assignment(pod)) and (waiting := self._waiting.get(pod.uid)) and not waiting.done():
            waiting.set_result(given)
        if is_ready(pod):
            self._failures.pop(kind_of(pod), None)
        self._changed.set()


def _assignment(pod: Pod) -> Assignment | None:
    return Assignment(key=pod.key, role=pod.role, generation=pod.generation) if pod.key else None
