"""Messages between a controller and the zygote: JSON, one message a line.

What only a started process may know, its `LaunchSecrets`, travels beside `Start` in files without a name, one for each
launch spec. The zygote hands their descriptors on and never reads them: what it has read once, all processes that it
forks afterwards would find in their memory.

A controller starts with `Hello`, is answered `Welcome` with all that is known, and then receives each `Changed` and
`Forgotten`. A request is answered by `Done` with the same id, after the changes that it has caused at once. All
requests are safe to repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from platform import python_version

import msgspec

from headrace.v1.enums import ExitCause
from headrace_controller.backends.process import ProcessState, Role

# A zygote of another version is replaced: it would fork the old code.
VERSION = " ".join(
    [
        "4",
        f"python-{python_version()}",
        *(f"{name}-{version(name)}" for name in ("headrace-backend-local", "distributed")),
    ]
)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An operating-system account."""

    name: str
    uid: int
    gid: int
    groups: list[int]
    home: str


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A process to start.

    Attributes
    ----------
    tag
        Its tag, see `process_tags`.
    warm
        Fork a process that has everything imported, instead of one that executes a command.
    directory
        Working directory.
    log
        File that its output is appended to.
    refusal
        Why it cannot be started, if that is known already.
    account
        Account to run as. None means the zygote's own.
    """

    cluster: str
    process: str
    role: Role
    generation: int
    tag: str
    title: str
    warm: bool
    directory: str
    log: str
    refusal: str = ""
    account: Account | None = None


class LaunchSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What is started: only the process itself reads it.

    Attributes
    ----------
    command
        Command to execute. Empty for a warm process.
    environment
        The whole environment of a command; what is set in a warm process besides.
    """

    command: list[str] = msgspec.field(default_factory=list[str])
    environment: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a process."""

    cluster: str
    process: str
    role: Role
    generation: int
    state: ProcessState
    exit_code: int | None = None
    exit_cause: ExitCause | None = None
    message: str = ""
    started: float = 0.0
    pid: int = 0


class Hello(msgspec.Struct, frozen=True, tag=True):
    """First message of a controller: the number of processes in standby, and what is added to all niceness."""

    standby: int
    nice: int


class Start(msgspec.Struct, frozen=True, tag=True):
    """Starts processes; one that runs already is left alone. Each spec comes with the file of its secrets."""

    id: int
    specs: list[LaunchSpec]


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Terminates processes of a cluster, all by default; answered when they are gone."""

    id: int
    cluster: str
    processes: list[str] | None = None


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Discards what is known of a cluster whose processes have exited."""

    id: int
    cluster: str


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Ends the zygote, with `stop` its processes too. Answered by the end of the connection."""

    stop: bool


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """Answer to `Hello`. `warm`: see `Warm`; `accounts`: whether it starts processes as other accounts."""

    version: str
    pid: int
    reports: list[Report]
    warm: bool = True
    accounts: bool = False


class Warm(msgspec.Struct, frozen=True, tag=True):
    """The wanted number of processes is in standby for the first time, or there will be none."""


class Changed(msgspec.Struct, frozen=True, tag=True):
    """The state of a process has changed."""

    report: Report


class Forgotten(msgspec.Struct, frozen=True, tag=True):
    """A cluster was forgotten."""

    cluster: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """A request was carried out; `error` says why it was not."""

    id: int
    error: str = ""


Request = Hello | Start | Stop | Forget | Shutdown
Message = Welcome | Warm | Changed | Forgotten | Done

# The kernel passes at most 253 descriptors with a message.
MOST_FILES = 64

_encoder = msgspec.json.Encoder()
decode_request = msgspec.json.Decoder(Request).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_welcome = msgspec.json.Decoder(Welcome).decode
decode_spec = msgspec.json.Decoder(LaunchSpec).decode
decode_secrets = msgspec.json.Decoder(LaunchSecrets).decode


def encode(message: Request | Message | LaunchSpec | LaunchSecrets) -> bytes:
    """Returns the line of a message."""
    return _encoder.encode(message) + b"\n"


class Lines:
    """Joins what was received to lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the lines that are complete now."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        yield from map(bytes, lines)
