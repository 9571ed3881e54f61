"""Admins by the policy: the section `roles` of the file that the controller reads, too."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace_auth import metrics
from headrace_chassis.logs import get_logger
from headrace_chassis.roles import Roles, read_roles

POLL_SECONDS = 1.0

log = get_logger()


class PolicyRoles:
    """The roles in force. A file that cannot be read leaves them as they are; before the first one, nobody has any."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._roles = Roles()
        self._fault = ""
        self.refresh()

    def __call__(self) -> Roles:
        return self._roles

    async def run(self) -> None:
        """Take up changes of the file until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the file."""
        if self._file is None:
            return
        try:
            roles = read_roles(self._file)
        except (OSError, ValueError) as error:
            self._refuse(str(error))
            return
        metrics.POLICY_REFUSED.set(0)
        self._fault = ""
        if roles != self._roles:
            log.info("new roles are in force", file=str(self._file), admins=len(roles.admins))
        self._roles = roles

    def _refuse(self, fault: str) -> None:
        metrics.POLICY_REFUSED.set(1)
        if fault != self._fault:
            log.error("the policy file cannot be read; the admins in force stay", file=str(self._file), fault=fault)
        self._fault = fault
