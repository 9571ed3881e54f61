"""What the processes of the contract do, as data, so that a backend without processes can play it too."""

from __future__ import annotations

import sys
from dataclasses import dataclass

NO_SUCH_COMMAND = "no-such-command"
_LONGEST_ARGUMENT = 100_000
_LISTENS = """
import os, socket, time
host = os.environ.get("TEST_LISTEN_HOST", "127.0.0.1")
with socket.create_server((host, 0)) as server:
    print(f"{host}:{server.getsockname()[1]}", flush=True)
    time.sleep(1000)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Writes something, then runs on or exits.

    Attributes
    ----------
    writes
        Written at once.
    code
        Exit code of one that exits by itself, negative for a signal. None: it runs until it is stopped.
    goodbye
        Written by one that is terminated.
    deaf
        It ignores its termination.
    missing
        There is no such program: it cannot start.
    listens
        It listens on an address, which it writes.
    """

    writes: str = "up\n"
    code: int | None = None
    goodbye: str = ""
    deaf: bool = False
    missing: bool = False
    listens: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """The same for a backend that starts processes."""
        if self.missing:
            return (NO_SUCH_COMMAND,)
        if self.listens:
            return (sys.executable, "-c", _LISTENS)
        pieces = [self.writes[i : i + _LONGEST_ARGUMENT] for i in range(0, len(self.writes), _LONGEST_ARGUMENT)]
        return ("sh", "-c", f'{self._on_termination}; printf %s "$@"; {self._then}', self.goodbye, *pieces)

    @property
    def _on_termination(self) -> str:
        if self.deaf:
            return "trap '' TERM"
        return "trap 'printf %s \"$0\"; exit 0' TERM" if self.goodbye else ":"

    @property
    def _then(self) -> str:
        if self.code is None:
            return "while :; do sleep 0.02; done" if self.deaf or self.goodbye else "exec sleep 1000"
        return f"exit {self.code}" if self.code >= 0 else f"kill {self.code} $$"


RUNS_ON = Program()
DEAF = Program(deaf=True)
