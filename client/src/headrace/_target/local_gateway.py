"""What `headrace up` leaves for `Gateway()` on the same machine: where it answers, how to check it, how to log in."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headrace.errors import HeadraceError

FILE_NAME = "gateway.json"


def data_directory() -> Path:
    """Directory of the embedded mode: ``$HEADRACE_DATA_DIR``, or ``headrace`` in the user's data directory."""
    if chosen := os.environ.get("HEADRACE_DATA_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "headrace"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGateway:
    """A running `headrace up`.

    Attributes
    ----------
    address
        Where it answers, such as ``"https://127.0.0.1:8790"``.
    ca_file
        Certificate authority that signed its certificate, PEM.
    token
        API token of `user`.
    user
        Who the token stands for.
    pid
        Its process.
    version
        Its version.
    """

    address: str
    ca_file: str
    token: str = field(repr=False)
    user: str
    pid: int
    version: str

    @classmethod
    def read(cls, directory: Path | None = None) -> LocalGateway | None:
        """Reads the file in `directory` (`data_directory` by default); None if there is none."""
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
                "run `headrace up` again, or name another headrace in headrace.address"
            ) from error

    def write(self, directory: Path | None = None) -> Path:
        """Writes the file, readable by its owner only, at once or not at all."""
        path = (directory or data_directory()) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{FILE_NAME}.{os.getpid()}")
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
        scratch.replace(path)
        return path

    @property
    def running(self) -> bool:
        """Whether its process still exists."""
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
