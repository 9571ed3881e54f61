"""Several backends as one: each process runs on the backend of its cluster's profile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar, cast

from headrace.errors import TokenInvalid
from headrace.option_types import OptionValue
from headrace.v1.enums import ExitCause
from headrace_chassis.logs import get_logger
from headrace_controller.backends.base import (
    Assignment,
    Attestation,
    Attests,
    Backend,
    BackendError,
    Capabilities,
    FixesOptions,
    Locates,
    LogPiece,
    Manifests,
    Network,
    Profiled,
    StandBys,
    UnfitProfiles,
    Warms,
)
from headrace_controller.backends.changes import ChangeFeed
from headrace_controller.backends.contact import Contact
from headrace_controller.backends.followed import FollowedBackend
from headrace_controller.backends.process import ProcessSpec, ProcessStatus

log = get_logger()

T = TypeVar("T")


class BackendRouter:
    """A backend over several; one that fails does not keep the others from working.

    While a backend cannot be observed, its processes are reported as they were last. It is opened and followed again
    as soon as possible.

    Parameters
    ----------
    backends
        Backends by the name that `ProcessSpec.backend` has.
    resolve
        Returns the name of the backend of a cluster's profile, None for a cluster without a record.
    """

    def __init__(self, backends: Mapping[str, Backend], resolve: Callable[[str], str | None]) -> None:
        self._backends = backends
        self._resolve = resolve
        self._feed = ChangeFeed()
        self._followed = {name: FollowedBackend(name, backend, self._feed) for name, backend in backends.items()}
        self._following: list[asyncio.Task[None]] = []

    @property
    def capabilities(self) -> Capabilities:
        """What all of them promise."""
        every = [backend.capabilities for backend in self._backends.values()]
        return Capabilities(
            stop_seconds=max(one.stop_seconds for one in every),
            notice_seconds=max(one.notice_seconds for one in every),
            keeps_logs=all(one.keeps_logs for one in every),
            logs_go_on=all(one.logs_go_on for one in every),
            keeps_exits=all(one.keeps_exits for one in every),
            reports_signals=all(one.reports_signals for one in every),
            reports_out_of_memory=all(one.reports_out_of_memory for one in every),
            warm=any(one.warm for one in every),
            suspend=all(one.suspend for one in every),
        )

    async def open(self) -> None:
        """Opens and observes all; raises `BackendError` if none can be opened."""
        followed = list(self._followed.values())
        connected = await asyncio.gather(*(one.connect() for one in followed), return_exceptions=True)
        failures = [result for result in connected if isinstance(result, BaseException)]
        for failure in failures:
            if len(failures) == len(followed) or not isinstance(failure, BackendError):
                raise failure
        for one, changes in zip(followed, connected, strict=True):
            failed = isinstance(changes, BaseException)
            if failed:
                log.error("backend cannot be opened", backend=one.name, error=str(changes))
            following = one.follow(None if failed else changes)
            self._following.append(asyncio.create_task(following, name=f"backend {one.name}"))

    async def warm(self) -> None:
        """Returns once all that are open are warm."""
        backends = [one.opened for one in self._followed.values() if one.observed]
        await asyncio.gather(*(backend.warm() for backend in backends if isinstance(backend, Warms)))

    async def check_profiles(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Passes settings of profiles on, by backend and key; raises `UnfitProfiles` or `BackendError`."""
        faults: list[tuple[tuple[str | int, ...], str]] = []
        failed: BackendError | None = None
        for name, of_profiles in settings.items():
            try:
                backend = self._named(name).opened
                if isinstance(backend, Profiled):
                    await backend.check_profiles(of_profiles)
            except UnfitProfiles as error:
                faults += error.faults
            except BackendError as error:
                failed = error
        if faults:
            raise UnfitProfiles(faults)
        if failed is not None:
            raise failed

    def use_profiles(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Passes settings of profiles on, by backend and key."""
        for name, backend in self._backends.items():
            if isinstance(backend, Profiled):
                backend.use_profiles(settings.get(name, {}))

    def fixed_options(self, name: str, profile: str) -> Mapping[str, Mapping[str, OptionValue]]:
        """Returns what holds for the life of a new cluster of a profile; nothing if its backend fixes nothing."""
        backend = self._backends.get(name)
        return backend.fixed_options(profile) if isinstance(backend, FixesOptions) else {}

    def locate(self, cluster: str, fixed: Mapping[str, Mapping[str, OptionValue]]) -> None:
        """Tells all backends that look for processes where what was fixed for a cluster says."""
        for backend in self._backends.values():
            if isinstance(backend, Locates):
                backend.locate(cluster, fixed)

    async def close(self) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        self._feed.close()
        await asyncio.gather(*(one.close() for one in self._followed.values()))

    def observed(self, cluster: str) -> bool:
        """Whether the backend of a cluster was observed since the start. Before, nothing is known of its processes."""
        return all(one.observed and _located(one.opened, cluster) for one in self._found(cluster))

    def obstacle(self, cluster: str) -> BackendError | None:
        """Why the backend of a cluster cannot be opened; None if it is open."""
        for one in self._found(cluster):
            try:
                _ = one.opened
            except BackendError as error:
                return error
        return None

    def contact(self, cluster: str) -> Contact | None:
        """Whether the platform of a cluster answers; None if it has none that may be away by itself."""
        found = [one.contact.current for one in self._found(cluster) if one.contact is not None]
        return max(found, key=lambda contact: (bool(contact.failure), contact.since), default=None)

    def on_contact(self, callback: Callable[[], None]) -> None:
        """Calls back when a platform ceases to answer, and when it answers again."""
        for one in self._followed.values():
            if one.contact is not None:
                one.contact.on_change(callback)

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        by_backend: dict[str, list[ProcessSpec]] = {}
        for spec in specs:
            by_backend.setdefault(spec.backend, []).append(spec)
        await _ask(map(self._named, by_backend), lambda name, backend: backend.start(by_backend[name]))
        # The changes have been accepted, for the contract says so; those who read ours run once before this returns.
        await asyncio.sleep(0)

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        await _ask(self._of(cluster), lambda _name, backend: backend.stop(cluster, processes))

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        if cluster is None:
            observed = await asyncio.gather(*(one.observe() for one in self._followed.values()))
        else:
            observed = await _ask(self._of(cluster), lambda _name, backend: backend.observe(cluster))
        return list(chain.from_iterable(observed))

    def changes(self) -> AsyncIterator[ProcessStatus]:
        return self._feed.stream()

    async def logs(
        self,
        cluster: str,
        process: str | None = None,
        *,
        tail_lines: int | None = None,
        follow: bool = False,
        positions: Mapping[str, str] | None = None,
    ) -> AsyncIterator[LogPiece]:
        for one in self._of(cluster):
            pieces = one.opened.logs(cluster, process, tail_lines=tail_lines, follow=follow, positions=positions)
            async for piece in pieces:
                yield piece

    def network(self, cluster: str, process: str) -> Network:
        """How a process is reached; raises `BackendError` if no backend is known for its cluster."""
        return self._only(cluster).network(cluster, process)

    async def check_address(self, cluster: str, process: str, address: str) -> None:
        """Passes the question on; raises `BackendError` if no backend is known for the cluster."""
        await self._only(cluster).check_address(cluster, process, address)

    async def attest(self, token: str) -> Attestation:
        """Returns whose token it is. Nothing says of which backend it is, so those that attest are asked one by one."""
        attesting = [one for one in self._followed.values() if isinstance(self._backends[one.name], Attests)]
        if not attesting:
            raise TokenInvalid("no backend of this deployment takes tokens of its platform")
        return await _first_to_know(attesting, lambda backend: cast("Attests", backend).attest(token))

    async def keep(self, patterns: Sequence[ProcessSpec] | None) -> None:
        """Passes each backend that keeps processes in standby the patterns that are its own."""
        keeping = [one for one in self._followed.values() if isinstance(self._backends[one.name], StandBys)]

        async def keep(name: str, backend: Backend) -> None:
            own = None if patterns is None else [pattern for pattern in patterns if pattern.backend == name]
            await cast("StandBys", backend).keep(own)

        await _ask(keeping, keep)

    async def stand_by(self, launch: str) -> Assignment:
        """Waits with the backend whose process it is."""
        keeping = [one for one in self._followed.values() if isinstance(self._backends[one.name], StandBys)]
        if not keeping:
            raise TokenInvalid("no backend of this deployment keeps processes in standby")
        return await _first_to_know(keeping, lambda backend: cast("StandBys", backend).stand_by(launch))

    async def forget(self, cluster: str) -> None:
        of_cluster = self._of(cluster)
        await _ask(of_cluster, lambda _name, backend: backend.forget(cluster))
        for one in of_cluster:
            one.discard(cluster)

    async def manifest(self, cluster: str) -> bytes | None:
        found = await _ask(self._of(cluster), lambda _name, backend: _manifest(backend, cluster))
        return next((manifest for manifest in found if manifest is not None), None)

    async def manifests(self) -> Mapping[str, bytes]:
        """Returns the manifests of all backends; those of one that fails are missing, see `manifest`."""
        merged: dict[str, bytes] = {}
        for one in self._followed.values():
            try:
                merged |= await _manifests(one.opened)
            except BackendError as error:
                log.warning("manifests cannot be read", backend=one.name, error=str(error))
        return merged

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        await _ask(self._of(cluster), lambda _name, backend: _update_manifest(backend, cluster, manifest))

    def _only(self, cluster: str) -> Backend:
        of_cluster = self._of(cluster)
        if len(of_cluster) > 1:
            raise BackendError(f"cluster {cluster} has no record and no processes, so its backend is unknown")
        return of_cluster[0].opened

    def _named(self, name: str) -> FollowedBackend:
        try:
            return self._followed[name]
        except KeyError:
            raise BackendError(
                f"there is no backend {name!r} in this deployment; there are {', '.join(self._followed)}",
                cause=ExitCause.REFUSED,
            ) from None

    def _of(self, cluster: str) -> list[FollowedBackend]:
        """The backend of the cluster's record, and those that run processes of it; all if neither is known."""
        found = self._found(cluster)
        if not found and (name := self._resolve(cluster)) is not None:
            self._named(name)
        return found

    def _found(self, cluster: str) -> list[FollowedBackend]:
        """The same; none if the backend of the record is not in this deployment."""
        name = self._resolve(cluster)
        found = [one for one in self._followed.values() if one.name == name or one.shows(cluster)]
        return found or ([] if name is not None else list(self._followed.values()))


async def _ask(followed: Iterable[FollowedBackend], call: Callable[[str, Backend], Awaitable[T]]) -> list[T]:
    """Calls backends by name side by side; raises the first failure when all have answered."""

    async def ask(one: FollowedBackend) -> T:
        return await call(one.name, one.opened)

    asked = list(followed)
    if len(asked) == 1:
        return [await ask(asked[0])]
    answers = await asyncio.gather(*map(ask, asked), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


async def _first_to_know(followed: Iterable[FollowedBackend], ask: Callable[[Backend], Awaitable[T]]) -> T:
    """Asks one backend after another whose process it is. One that is away may be the one that would know."""
    refused: list[Exception] = []
    for one in followed:
        try:
            return await ask(one.opened)
        except (BackendError, TokenInvalid) as error:
            refused.append(error)
    raise next((error for error in refused if isinstance(error, BackendError)), refused[0])


def _located(backend: Backend, cluster: str) -> bool:
    return not isinstance(backend, Locates) or backend.located(cluster)


async def _manifest(backend: Backend, cluster: str) -> bytes | None:
    return await backend.manifest(cluster) if isinstance(backend, Manifests) else None


async def _manifests(backend: Backend) -> Mapping[str, bytes]:
    return await backend.manifests() if isinstance(backend, Manifests) else {}


async def _update_manifest(backend: Backend, cluster: str, manifest: bytes) -> None:
    if isinstance(backend, Manifests):
        await backend.update_manifest(cluster, manifest)
