"""The open files that a started process is given. The zygote opens them; it never reads the secrets."""

from __future__ import annotations

import os
from dataclasses import dataclass

from headrace_backend_local import protocol
from headrace_backend_local.protocol import LaunchSecrets


@dataclass(frozen=True, slots=True)
class LaunchFiles:
    """Descriptors of the secrets of a process, of its log and of its working directory."""

    secrets: int
    log: int
    directory: int

    @property
    def all(self) -> list[int]:
        return [self.secrets, self.log, self.directory]

    def redirect_output(self) -> None:
        """Directs the output of this process to the log."""
        for number in (1, 2):
            os.dup2(self.log, number)
        os.close(self.log)

    def enter_directory(self) -> None:
        """Makes the directory the one of this process."""
        os.fchdir(self.directory)
        os.close(self.directory)

    def read_secrets(self) -> LaunchSecrets:
        """Returns the secrets, once."""
        try:
            return protocol.decode_secrets(os.pread(self.secrets, os.fstat(self.secrets).st_size, 0))
        finally:
            os.close(self.secrets)
