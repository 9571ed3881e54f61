"""A process that the nursery looks after, with the process group that it leads."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable

from headrace_backend_local.zygote import procfs


class Child:
    """A process and its group, started by this nursery or adopted from one that has died.

    Its pid means it, and nobody else, for as long as it is not reaped; afterwards the number is kept from being reused
    while its group has members, and these are told by the session that they share with it.
    """

    def __init__(self, pid: int, *, popen: subprocess.Popen[bytes] | None = None, adopted: bool = False) -> None:
        self.pid = pid
        self.descriptor = os.pidfd_open(pid)
        self.ended = False
        self._popen = popen
        self._adopted = adopted
        seen = procfs.process(pid)
        self.started = seen.started if seen else 0.0
        self._session = seen.session if seen else 0

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process and its group, if it has not ended."""
        if self.ended:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, 0)  # it is there, so its number is its own
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:  # it leads no group of this number: left it, or not yet made it
                signal.pidfd_send_signal(self.descriptor, number)

    def reap(self) -> int | None:
        """Returns the exit code of the ended process, negative for a signal; None if it was not ours to ask."""
        self.ended = True
        if self._adopted:
            return None
        if self._popen is not None:
            return self._popen.wait()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def members(self, processes: Iterable[procfs.Process]) -> list[int]:
        """Returns those of `processes` that belong to it, itself included."""
        return [p.pid for p in processes if p.group == self.pid and p.session == self._session]

    @property
    def group_is_empty(self) -> bool:
        """Whether nothing is left of it; a quick look that may say no of mere zombies."""
        if not self.ended:
            return False
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # the number is another user's by now
            return True
        return False
