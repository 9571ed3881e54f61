"""What a controller and the nursery say to each other: JSON, one message a line.

A controller begins with `Hello`, is answered `Welcome` with all that is known, and from then on hears each `Changed`
and `Forgotten`. Requests are answered by `Done` with the same id, after the changes that they have caused at once.
All of them are safe to repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from platform import python_version

import msgspec

from headrace_controller.backends.base import ExitCause, ProcessState, Role

# A nursery of another version makes room for a new one: what it forks would be the old code.
VERSION = " ".join(
    ["1", f"python-{python_version()}", *(f"{name}-{version(name)}" for name in ("headrace-controller", "distributed"))]
)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A process to start.

    Attributes
    ----------
    mark
        Its mark, see `marks`.
    command
        What to spawn. Empty: fork a process that has everything imported.
    environment
        The whole environment of a spawned process; of a forked one what is set besides.
    directory
        Working directory.
    log
        File that its output is appended to.
    refusal
        Why it cannot be started, if that is known already.
    """

    cluster: str
    process: str
    role: Role
    generation: int
    mark: str
    title: str
    command: list[str] = msgspec.field(default_factory=list[str])
    environment: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    directory: str
    log: str
    refusal: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a process."""

    cluster: str
    process: str
    role: Role
    generation: int
    state: ProcessState
    exit_code: int | None = None
    cause: ExitCause = ExitCause.NONE
    message: str = ""
    started: float = 0.0
    pid: int = 0


class Hello(msgspec.Struct, frozen=True, tag=True):
    """First message of a controller: how many processes are to be kept in standby."""

    standby: int


class Start(msgspec.Struct, frozen=True, tag=True):
    """Starts processes; one that runs already is left alone."""

    id: int
    orders: list[Order]


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Stops processes of a cluster, by default all; answered when they are gone."""

    id: int
    cluster: str
    processes: list[str] | None = None


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Drops what is known of a cluster whose processes have ended."""

    id: int
    cluster: str


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Ends the nursery; with `stop` everything that it looks after, too. Answered by the end of the connection."""

    stop: bool


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """Answer to `Hello`."""

    version: str
    pid: int
    reports: list[Report]


class Changed(msgspec.Struct, frozen=True, tag=True):
    """The state of a process has changed."""

    report: Report


class Forgotten(msgspec.Struct, frozen=True, tag=True):
    """A cluster was forgotten."""

    cluster: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """A request was carried out, or could not be."""

    id: int
    error: str = ""


Request = Hello | Start | Stop | Forget | Shutdown
Message = Welcome | Changed | Forgotten | Done

_encoder = msgspec.json.Encoder()
decode_request = msgspec.json.Decoder(Request).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_order = msgspec.json.Decoder(Order).decode


def encode(message: Request | Message | Order) -> bytes:
    """Returns the line of a message."""
    return _encoder.encode(message) + b"\n"


class Lines:
    """Puts what was received together to lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the lines that are complete now."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        yield from map(bytes, lines)
