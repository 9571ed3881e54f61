"""API tokens that `headrace login` has saved, one for each address, readable by their owner only."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from headrace.errors import HeadraceError


def logins_file() -> Path:
    """Where saved logins are: ``headrace/logins.json`` in the user's configuration directory."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "headrace" / "logins.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedLogin:
    """How to log in at one address."""

    address: str
    user: str
    token: str = field(repr=False)
    ca_file: str | None = None

    @classmethod
    def read(cls, address: str) -> SavedLogin | None:
        """Returns what is saved for `address`."""
        facts = _read_all().get(address)
        return None if facts is None else cls(**facts)

    def write(self) -> None:
        """Saves it, in place of what was saved for this address."""
        _write_all({**_read_all(), self.address: asdict(self)})

    @staticmethod
    def remove(address: str) -> bool:
        """Forgets `address`; tells whether there was anything to forget."""
        logins = _read_all()
        found = logins.pop(address, None)
        if found is not None:
            _write_all(logins)
        return found is not None


def _read_all() -> dict[str, dict[str, str]]:
    path = logins_file()
    try:
        logins: object = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HeadraceError(f"{path} cannot be read ({error}); remove it and run `headrace login` again") from error
    return cast("dict[str, dict[str, str]]", logins)


def _write_all(logins: dict[str, dict[str, str]]) -> None:
    path = logins_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(logins, file, indent=1)
    scratch.replace(path)
