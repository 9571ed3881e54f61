"""The policy in force, and how a change of its file is taken up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from headrace.errors import HeadraceError, TooManyRequests
from headrace_chassis import logs
from headrace_chassis.policy_document import BadPolicy, UnreadablePolicy, read_text
from headrace_controller.bounded_threads import BoundedThreads
from headrace_controller.loops import faults_logged
from headrace_controller.metrics import POLICY_REFUSED
from headrace_controller.policy import modules
from headrace_controller.policy.file import Check, PolicyFile
from headrace_controller.policy.modules import Stamp

T = TypeVar("T")
log = logs.get_logger()
_POLL_SECONDS = 1.0
_NOTHING: tuple[str | None, Mapping[str, Stamp]] = None, {}

Listener = Callable[[PolicyFile], None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A policy file that was refused while another policy was in force."""

    at: float
    reason: str


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
        *,
        clock: Callable[[], float] = time.time,
        reading_seconds: float = 60.0,
    ) -> None:
        self.file = file
        self._fit = fit
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
        self._seen: tuple[str | None, Mapping[str, Stamp]] = text, self._now.stamps
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
            It would be refused.
        InternalError, TooManyRequests
            Its Python takes too long, or earlier Python still does.
        """
        read = await self._read(text, {})
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
        if self.file is None:
            return
        before, self._seen = self._seen, _NOTHING
        try:
            # The text is compared: a file that is written twice in one tick of the clock changes nothing else.
            seen = await asyncio.to_thread(_look, self.file, before[1])
            if seen == before:
                self._seen = before
                return
            stamps: dict[str, Stamp] = {}
            self._seen = seen[0], stamps
            read = await self._read(seen[0], stamps)
        except HeadraceError as error:
            if isinstance(error, TooManyRequests):
                self._seen = _NOTHING  # it is read again
            self._refuse(str(error))
            return
        self.refused = None
        POLICY_REFUSED.set(0)
        if (read.policy, read.stamps) == (self._now.policy, self._now.stamps):
            return
        self._now = read
        self.since = self._clock()
        for listener in self._listeners:
            listener(read.policy)
        log.info("a new policy is in force", file=str(self.file))

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
