"""The authority of a server that is called, read again when its file changes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from headrace_chassis.logs import get_logger
from headrace_chassis.tls.certificate_files import BadTlsFile, stamp

log = get_logger()


@dataclass
class AuthorityFile:
    """Checks servers with a file of authorities, or with those of the system if there is no path.

    `use` says in the log what it is for.
    """

    path: Path | None
    use: str
    _seen: object = field(init=False, default=None)
    _context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        """Read the file; raise `BadTlsFile` if it cannot be used."""
        self._seen = stamp(self.path) if self.path else None
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection. Instead of a changed file that cannot be used the old one holds."""
        if self.path and (state := stamp(self.path)) != self._seen:
            self._seen = state
            try:
                self._context = self._read()
            except BadTlsFile as error:
                log.warning("the changed authority cannot be used; the old one stays", use=self.use, error=str(error))
            else:
                log.info("the changed authority is in use", use=self.use, file=str(self.path))
        return self._context

    def _read(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.path)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise BadTlsFile(f"{self.path} cannot be read as certificates of authorities in PEM: {error}") from error
