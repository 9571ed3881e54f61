"""The policy in force, and how a change of its file is taken up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from headrace_chassis import logs
from headrace_controller.metrics import POLICY_REFUSED
from headrace_controller.policy.file import BadPolicy, PolicyFile

log = logs.get_logger()
_POLL_SECONDS = 1.0


class CurrentPolicy:
    """The policy in force.

    Parameters
    ----------
    file
        Where it is written. None: `policy` stays in force.
    policy
        The policy in force at first.
    accept
        Raises `BadPolicy` for a policy that this deployment cannot carry out; else puts it in force.
    """

    def __init__(self, file: Path | None, policy: PolicyFile, accept: Callable[[PolicyFile], None]) -> None:
        self._file = file
        self._policy = policy
        self._accept = accept
        self._read_last: object = None

    @property
    def policy(self) -> PolicyFile:
        """The policy in force."""
        return self._policy

    async def run(self) -> None:
        """Take up changes of the file until cancelled."""
        while self._file is not None:
            await asyncio.sleep(_POLL_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the file if it has changed. A broken one is logged, and the policy in force stays."""
        file = self._file
        assert file is not None
        try:
            status = await asyncio.to_thread(file.stat)
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            if state == self._read_last:
                return
            self._read_last = state
            policy = PolicyFile.read(await asyncio.to_thread(file.read_text, encoding="utf-8"))
            if policy == self._policy:
                return
            self._accept(policy)
        except (OSError, UnicodeDecodeError, BadPolicy) as error:
            POLICY_REFUSED.inc()
            log.warning("the policy file was refused; the policy in force stays", file=str(file), error=str(error))
            return
        self._policy = policy
        log.info("a new policy is in force", file=str(file))
