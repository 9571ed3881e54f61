"""The file of logins that `headrace login` writes: an API token for each address."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from headrace.errors import HeadraceError
from headrace.private_files import write_private


def logins_file() -> Path:
    """Return the path of the file: ``headrace/logins.json`` in the user's configuration directory."""
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
        """Return the login saved for `address`, or None."""
        return _read_all().get(address)

    def write(self) -> None:
        """Save it; an earlier login at this address is replaced."""
        _write_all({**_read_all(), self.address: self})

    @staticmethod
    def remove(address: str) -> bool:
        """Remove the login at `address`; return whether there was one."""
        logins = _read_all()
        found = logins.pop(address, None)
        if found is not None:
            _write_all(logins)
        return found is not None


def _read_all() -> dict[str, SavedLogin]:
    path = logins_file()
    try:
        content = cast("dict[str, dict[str, str]]", json.loads(path.read_text("utf-8")))
        return {address: SavedLogin(**facts) for address, facts in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HeadraceError(f"{path} cannot be read ({error}); remove it and run `headrace login` again") from error


def _write_all(logins: dict[str, SavedLogin]) -> None:
    path = logins_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, json.dumps({address: asdict(login) for address, login in logins.items()}, indent=1))
