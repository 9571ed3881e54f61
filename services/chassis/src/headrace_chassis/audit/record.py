"""One line of the audit log."""

from __future__ import annotations

import msgspec

_MOST = 512


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A call that changed something, or was about what is another user's. `AuditRecord` of the contract explains it.

    Attributes
    ----------
    time
        Seconds since the epoch.
    """

    time: float
    service: str
    method: str
    caller: str = ""
    token: str = ""
    source: str = ""
    target: str = ""
    owner: str = ""
    role: str = ""
    code: str = "OK"
    detail: str = ""
    request_id: str = ""

    @property
    def failed(self) -> bool:
        return self.code != "OK"

    def line(self) -> bytes:
        """Return it as JSON, without line breaks."""
        return msgspec.json.encode(self)

    @classmethod
    def read(cls, line: bytes) -> Record:
        """Read a line; raise `msgspec.DecodeError`. Fields of newer releases are left out."""
        return msgspec.json.decode(line, type=cls)


def bounded(text: str) -> str:
    """Return a text of a user as the log has it: not too long, and nothing that a terminal would obey."""
    text = text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
