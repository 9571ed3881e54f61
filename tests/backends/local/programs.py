"""What the processes of the contract do, told as data, so that a backend without processes can play it too."""

from __future__ import annotations

from dataclasses import dataclass

NO_SUCH_COMMAND = "no-such-command"
_LONGEST_ARGUMENT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Says something, then lives on or ends.

    Attributes
    ----------
    says
        Written at once.
    code
        Exit code of one that ends by itself, negative for a signal. None: it lives until it is stopped.
    goodbye
        Written by one that is asked to end.
    deaf
        It does not end when it is asked.
    missing
        There is no such program: it cannot start.
    """

    says: str = "up\n"
    code: int | None = None
    goodbye: str = ""
    deaf: bool = False
    missing: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """The same for a backend that starts processes."""
        if self.missing:
            return (NO_SUCH_COMMAND,)
        pieces = [self.says[i : i + _LONGEST_ARGUMENT] for i in range(0, len(self.says), _LONGEST_ARGUMENT)]
        return ("sh", "-c", f'{self._when_asked}; printf %s "$@"; {self._then}', self.goodbye, *pieces)

    @property
    def _when_asked(self) -> str:
        if self.deaf:
            return "trap '' TERM"
        return "trap 'printf %s \"$0\"; exit 0' TERM" if self.goodbye else ":"

    @property
    def _then(self) -> str:
        if self.code is None:
            return "while :; do sleep 0.02; done" if self.deaf or self.goodbye else "exec sleep 1000"
        return f"exit {self.code}" if self.code >= 0 else f"kill {self.code} $$"


LIVES = Program()
DEAF = Program(deaf=True)
