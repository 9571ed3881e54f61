"""What the code that serves a call tells the audit log: what it is about, and as what the caller acts."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from headrace.access import Role

_MOST = 1000  # clusters that one call is about


@dataclass(slots=True)
class About:
    """One thing that a call is about: ``clusters/{cluster}`` or ``apiTokens/{api_token}``, and whose it is."""

    target: str
    owner: str
    role: str
    code: str = ""  # of the call, if it is empty
    detail: str = ""


@dataclass(slots=True)
class Note:
    """Belongs to one call.

    Attributes
    ----------
    caller, token
        Of a login, which nobody calls yet.
    noted
        Called when the call is about something; a stream is recorded then.
    """

    abouts: dict[str, About] = field(default_factory=dict[str, About])
    detail: str = ""
    caller: str = ""
    token: str = ""
    noted: Callable[[], None] | None = None

    @property
    def things(self) -> list[About]:
        """What the call is about; clusters that it names rather than whose they are."""
        every = list(self.abouts.values())
        return [one for one in every if one.target] or every

    @property
    def is_anothers(self) -> bool:
        return any(about.role != Role.OWNER for about in self.abouts.values())


_note: ContextVar[Note | None] = ContextVar("headrace_audit_note", default=None)


def begin() -> Note:
    """Begin the note of the call of this task."""
    made = Note()
    _note.set(made)
    return made


def about(target: str, owner: str, role: Role | None) -> None:
    """Note what the call is about. Without a role, the caller is a stranger."""
    if (note := _note.get()) is None or (len(note.abouts) >= _MOST and target not in note.abouts):
        return
    note.abouts[target] = About(target, owner, role or "")
    if note.noted is not None:
        note.noted()


def failed(target: str, code: str, detail: str) -> None:
    """Note that one of several things could not be done."""
    if (note := _note.get()) is not None:
        found = note.abouts.setdefault(target, About(target, "", "")) if len(note.abouts) < _MOST else None
        if found is not None:
            found.code, found.detail = code, detail


def detail(text: str, target: str = "") -> None:
    """Note what was asked for, for people; for one of several things, if `target` names it."""
    if (note := _note.get()) is None:
        return
    if (found := note.abouts.get(target)) is not None:
        found.detail = text
    else:
        note.detail = text


def logged_in(caller: str, token: str = "") -> None:
    """Note who has logged in, or tried to."""
    if (note := _note.get()) is not None:
        note.caller, note.token = caller, token
