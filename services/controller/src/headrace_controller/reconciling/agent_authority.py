"""The certificate authority that agents check this service with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


class AgentAuthority:
    """Reads its file for each launch: an authority has a successor while the service runs.

    A file that cannot be read at its start ends the service. Later, the one before holds.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._pem = file.read_text(encoding="ascii") if file else ""

    def pem(self) -> str:
        """Return it; empty if agents use a unix socket, or trust the system's."""
        if self._file:
            with suppress(OSError, UnicodeDecodeError):
                self._pem = self._file.read_text(encoding="ascii") or self._pem
        return self._pem
