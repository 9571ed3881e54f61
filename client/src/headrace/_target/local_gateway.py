"""The file that `headrace up` writes for `Gateway()` on the same machine: address, certificate authority, token."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.private_files import write_private

FILE_NAME = "gateway.json"


def data_directory() -> Path:
    """Return the directory of `headrace up`: ``$HEADRACE_DATA_DIR``, or ``headrace`` in the user's data directory."""
    if chosen := os.environ.get("HEADRACE_DATA_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "headrace"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGateway:
    """A running `headrace up`.

    Attributes
    ----------
    address
        Such as ``"https://127.0.0.1:8790"``.
    ca_file
        PEM file of the certificate authority of `address`.
    token
        API token of `user`.
    user
        User id.
    pid
        Process id of `headrace up`.
    version
        Version of `headrace up`.
    """

    address: str
    ca_file: str
    token: str = field(repr=False)
    user: str
    pid: int
    version: str

    @classmethod
    def read(cls, directory: Path | None = None) -> LocalGateway | None:
        """Read the file in `directory`, by default `data_directory`. Returns None if there is none."""
        path = (directory or data_directory()) / FILE_NAME
        try:
            with path.open(encoding="utf-8") as file:
                _check_owner(path, os.fstat(file.fileno()))
                facts = json.load(file)
            return cls(**{name: facts[name] for name in cls.__slots__})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise HeadraceError(
                f"{path} cannot be read ({error.__class__.__name__}: {error}); "
                "run `headrace up` again, or set headrace.address to another address"
            ) from error

    def write(self, directory: Path | None = None) -> Path:
        """Write the file, readable by its owner only; return its path."""
        path = (directory or data_directory()) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, json.dumps(asdict(self), indent=1))
        return path

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _check_owner(path: Path, facts: os.stat_result) -> None:
    if facts.st_uid not in {os.getuid(), 0}:
        raise PermissionError(f"{path} belongs to user id {facts.st_uid}, not to you")
    if stat.S_IMODE(facts.st_mode) & 0o022:
        raise PermissionError(f"{path} can be changed by others; `chmod 600` it")
