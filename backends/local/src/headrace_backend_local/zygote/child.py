"""A process that the zygote watches, with the process group that it leads."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

from headrace_chassis import procfs


class Child:
    """A process and its group, started by this zygote or adopted from one that has died.

    Its pid means this process only, until it is reaped. Afterwards the number is not reused while its group has
    members, which are recognised by the session that they share with it.
    """

    def __init__(self, pid: int, *, adopted: bool = False, session: bool = False) -> None:
        self.pid = pid
        self.descriptor = os.pidfd_open(pid)
        self.exited = False
        self.failure: int | None = None  # where a process that cannot execute its command has written why
        self._adopted = adopted
        seen = procfs.process(pid)
        self.started = seen.started if seen else 0.0
        self.user = procfs.user(pid)
        # One that is to lead a session may not have made it yet.
        self._session = pid if session else seen.session if seen else 0

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process and its group, unless it has exited."""
        if self.exited:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, 0)  # it is there, so the pid is its own
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:  # it leads no group of this number: it left it, or has not made it yet
                signal.pidfd_send_signal(self.descriptor, number)

    def reap(self) -> int | None:
        """Returns the exit code of the exited process, negative for a signal; None if it is another's child."""
        self.exited = True
        if self._adopted:
            return None
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def members(self, processes: Iterable[procfs.Process]) -> list[int]:
        """Returns those of `processes` that belong to it, itself included."""
        return [p.pid for p in processes if p.group == self.pid and p.session == self._session]

    @property
    def group_is_empty(self) -> bool:
        """Whether nothing is left of it; a quick check that may say no if only zombies are left."""
        if not self.exited:
            return False
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # the number is another user's by now
            return True
        return False
