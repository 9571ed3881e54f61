"""The policy in force, and how a change of its file is taken up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import HeadraceError
from headrace_chassis import logs
from headrace_chassis.policy_document import BadPolicy, read_text
from headrace_controller.metrics import POLICY_REFUSED
from headrace_controller.policy.file import Check, PolicyFile

log = logs.get_logger()
_POLL_SECONDS = 1.0

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
    except BadPolicy as error:
        raise BadPolicyFile(f"the policy file {file} is refused:\n{error}") from None


class CurrentPolicy:
    """The policy in force. Read it when you decide; whoever derives something from it listens with `on_change`.

    Parameters
    ----------
    file
        Where it is written. None: `policy` stays in force.
    policy
        The policy in force if there is no file.
    check
        Raises `UnfitPolicy` for a policy that this deployment cannot carry out.

    Raises
    ------
    BadPolicyFile
        The file cannot be used.
    """

    def __init__(
        self, file: Path | None, policy: PolicyFile, check: Check, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.file = file
        self._check = check
        self._clock = clock
        self._listeners: list[Listener] = []
        self._text: str | None = None
        self.refused: Refusal | None = None
        if file is None:
            check(policy)
            self._policy = policy
        else:
            self._text, self._policy = read_file(file, check)
        self.since = clock()

    @property
    def policy(self) -> PolicyFile:
        """The policy in force."""
        return self._policy

    def check(self, text: str) -> PolicyFile:
        """Read a policy for this deployment without putting it in force; raise `BadPolicy`."""
        return PolicyFile.read(text, self._check)

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with each new policy before any decision reads it."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Take up changes of the file until cancelled."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self.refresh()
            except Exception:  # logged in full
                log.exception("following the policy file failed; will read it again")

    async def refresh(self) -> None:
        """Read the file. A broken one is logged once, and the policy in force stays."""
        if self.file is None:
            return
        try:
            # The text is compared: a file that is written twice in one tick of the clock changes nothing else.
            seen, self._text = self._text, None
            self._text = await asyncio.to_thread(read_text, self.file)
            if self._text == seen:
                return
            policy = await asyncio.to_thread(self.check, self._text)
        except BadPolicy as error:
            self._refuse(str(error))
            return
        self.refused = None
        POLICY_REFUSED.set(0)
        if policy == self._policy:
            return
        self._policy = policy
        self.since = self._clock()
        for listener in self._listeners:
            listener(policy)
        log.info("a new policy is in force", file=str(self.file))

    def _refuse(self, reason: str) -> None:
        if self.refused is not None and self.refused.reason == reason:
            return
        self.refused = Refusal(self._clock(), reason)
        POLICY_REFUSED.set(1)
        log.warning("the policy file was refused; the policy in force stays", file=str(self.file), reason=reason)
