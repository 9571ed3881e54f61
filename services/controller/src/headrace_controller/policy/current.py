"""The policy in force, and how a change of its file is taken up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from headrace.errors import HeadraceError, InternalError, TooManyRequests
from headrace_chassis import logs
from headrace_chassis.policy_document import BadPolicy, UnreadablePolicy, read_text
from headrace_controller.bounded_threads import BoundedThreads
from headrace_controller.loops import faults_logged
from headrace_controller.metrics import POLICY_REFUSED
from headrace_controller.policy import modules
from headrace_controller.policy.file import Check, PolicyFile, UnfitPolicy, refused
from headrace_controller.policy.modules import Stamp

T = TypeVar("T")
log = logs.get_logger()
_POLL_SECONDS = 1.0
_AT_REST_SECONDS = 0.1
"""Time for which a changed file must stay as it is. One that is written in place is empty first, which is a policy."""
_LOOKS = 50
_VERIFY_AGAIN_SECONDS = 30.0
_Seen = tuple[str | None, Mapping[str, Stamp]]
_NOTHING: _Seen = None, {}

Listener = Callable[[PolicyFile], None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A policy file that was refused while another policy was in force."""

    at: float
    reason: str


class UncheckedPolicy(Exception):
    """Whether a deployment can carry out a policy cannot be found out now. The message says why."""


class BadPolicyFile(HeadraceError):
    """A policy file that cannot be used at the start."""


def read_file(file: Path, check: Check | None = None) -> tuple[str, PolicyFile]:
    """Return a file's text and its policy; raise `BadPolicyFile`, which names the file and all that is wrong."""
    try:
        text = read_text(file)
        return text, PolicyFile.read(text, check)
    except UnreadablePolicy as error:
        raise BadPolicyFile(str(error)) from None
    except BadPolicy as error:
        raise BadPolicyFile(f"the policy file {file} is refused:\n{error}") from None


@dataclass(frozen=True, slots=True)
class _Read(Generic[T]):
    """A policy that was read, what it is in this deployment, and its Python modules as they were just before."""

    policy: PolicyFile
    fitted: T
    stamps: Mapping[str, Stamp]


class CurrentPolicy(Generic[T]):
    """The policy in force. Read it when you decide; whoever derives something from it listens with `on_change`.

    Parameters
    ----------
    file
        Where it is written. None: `policy` stays in force.
    policy
        The policy in force if there is no file.
    fit
        Returns what a policy is in this deployment; raises `UnfitPolicy` for one that it cannot carry out.
    verify
        Asks others, such as the API server of Kubernetes, about what `fit` has returned; raises `UnfitPolicy`, or
        `UncheckedPolicy` while they do not answer. Such a policy is in force nevertheless, and is verified again until
        they do. So is the policy of the start: what lives goes on, even if something has become unfit meanwhile.

    Raises
    ------
    BadPolicyFile
        The file cannot be used.
    """

    def __init__(
        self,
        file: Path | None,
        policy: PolicyFile,
        fit: Callable[[PolicyFile], T],
        verify: Callable[[T], Awaitable[None]] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        reading_seconds: float = 60.0,
    ) -> None:
        self.file = file
        self._fit = fit
        self._verify = verify
        self._verify_at = None if verify is None else clock()  # when the policy is verified next
        self._clock = clock
        self._listeners: list[Listener] = []
        self._reading = BoundedThreads("reading the policy and its Python", reading_seconds)
        self.refused: Refusal | None = None
        text = ""
        if file is None:
            self._now = self._fitted(policy, {})
        else:
            read = list[_Read[T]]()
            text, _ = read_file(file, lambda policy: read.append(self._fitted(policy, {})))
            [self._now] = read
        self._seen: _Seen = text, self._now.stamps
        self.since = clock()

    @property
    def policy(self) -> PolicyFile:
        """The policy in force."""
        return self._now.policy

    @property
    def fitted(self) -> T:
        """What the policy in force is in this deployment."""
        return self._now.fitted

    async def check(self, text: str) -> tuple[PolicyFile, T]:
        """Read a policy for this deployment without putting it in force.

        Raises
        ------
        BadPolicy
            It would be refused. One that cannot be verified now is not.
        InternalError, TooManyRequests
            Its Python takes too long, or earlier Python still does.
        """
        read = await self._read(text, {})
        if self._verify is not None:
            try:
                await self._verify(read.fitted)
            except UnfitPolicy as error:
                raise await asyncio.to_thread(refused, text, error) from None
            except UncheckedPolicy as error:
                log.warning("a policy was compared without asking all backends", reason=str(error))
        return read.policy, read.fitted

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with each new policy before any decision reads it."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Take up changes of the file until cancelled."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with faults_logged("cannot follow the policy file; will read it again"):
                await self.refresh()

    async def refresh(self) -> None:
        """Read the file. A broken one is logged once, and the policy in force stays."""
        due = self._due()
        if self.file is None:
            if due:
                await self._verify_again()
            return
        before, self._seen = self._seen, _NOTHING
        stamps: dict[str, Stamp] = {}
        try:
            # The text is compared: a file that is written twice in one tick of the clock changes nothing else.
            seen = await self._at_rest(self.file, before)
            if seen == before and not due:
                self._seen = before
                return
            self._seen = seen[0], stamps
            read = await self._read(seen[0], stamps)
            await self._verified(read.fitted, seen[0])
        except HeadraceError as error:
            # Without the stamps of its modules, no change of them would be seen: it is read again.
            if isinstance(error, TooManyRequests) or (isinstance(error, InternalError) and not stamps):
                self._seen = _NOTHING
            self._refuse(str(error))
            return
        self._accept()
        if (read.policy, read.stamps) == (self._now.policy, self._now.stamps):
            return
        self._now = read
        self.since = self._clock()
        for listener in self._listeners:
            listener(read.policy)
        log.info("a new policy is in force", file=str(self.file))

    async def _at_rest(self, file: Path, before: _Seen) -> tuple[str, Mapping[str, Stamp]]:
        """Look at the file, and once it has changed, until it rests; raise `UnreadablePolicy` if it never does."""
        last: _Seen = _NOTHING
        for _ in range(_LOOKS):
            seen = await asyncio.to_thread(_look, file, before[1])
            if seen in (last, before):
                return seen
            last = seen
            await asyncio.sleep(_AT_REST_SECONDS)
        raise UnreadablePolicy(f"the policy file {file}, or Python that it names, is being written all the time")

    def _due(self) -> bool:
        """Whether to verify the policy now, though nothing has changed."""
        if self._verify_at is None or self._clock() < self._verify_at:
            return False
        self._verify_at = self._clock() + _VERIFY_AGAIN_SECONDS
        return True

    async def _verify_again(self) -> None:
        """Verify the policy of the settings, which is in force."""
        try:
            await self._verified(self.fitted, "")
        except BadPolicy as error:
            self._refuse(str(error))
        else:
            self._accept()

    async def _verified(self, fitted: T, text: str) -> None:
        """Verify a policy; raise `BadPolicy`. Unless it is found fit, it is verified again later."""
        if self._verify is None:
            return
        self._verify_at = self._clock() + _VERIFY_AGAIN_SECONDS
        try:
            await self._verify(fitted)
        except UnfitPolicy as error:
            raise await asyncio.to_thread(refused, text, error) from None
        except UncheckedPolicy as error:
            log.warning("the policy cannot be checked now and holds nevertheless", reason=str(error))
        else:
            self._verify_at = None

    def _accept(self) -> None:
        self.refused = None
        POLICY_REFUSED.set(0)

    async def _read(self, text: str, stamps: dict[str, Stamp]) -> _Read[T]:
        """Read a policy in a thread with a time limit: modules run when they are imported.

        `stamps` takes in those of its modules, also if one cannot be imported.
        """

        def read() -> _Read[T]:
            found = list[_Read[T]]()
            PolicyFile.read(text, lambda policy: found.append(self._fitted(policy, stamps)))
            return found[0]

        return await self._reading.run("", read)

    def _fitted(self, policy: PolicyFile, stamps: dict[str, Stamp]) -> _Read[T]:
        stamps.update(modules.stamps(policy.modules))
        return _Read(policy, self._fit(policy), stamps)

    def _refuse(self, reason: str) -> None:
        if self.refused is not None and self.refused.reason == reason:
            return
        self.refused = Refusal(self._clock(), reason)
        POLICY_REFUSED.set(1)
        log.warning("the policy file was refused; the policy in force stays", file=str(self.file), reason=reason)


def _look(file: Path, known: Mapping[str, Stamp]) -> tuple[str, Mapping[str, Stamp]]:
    """Return a policy file's text, and the stamps of modules as they are now."""
    return read_text(file), modules.stamps(known)
