"""Identity of a process, as the backend that launches it writes it into its environment.

The environment that a process was executed with can be read in /proc as long as it lives. So the token is passed in a
file where a process is executed, and in the environment only where one is forked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

SCHEDULER = "scheduler"
WORKER = "worker"

_TOKEN = "HEADRACE_AGENT_TOKEN"  # noqa: S105 the variable's name
_TOKEN_FILE = "HEADRACE_AGENT_TOKEN_FILE"  # noqa: S105 the variable's name


class IdentityMissing(Exception):
    """The environment does not identify this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a process must know before it can enrol.

    Attributes
    ----------
    deployment, cluster, process, role, generation
        Which process this is: "scheduler" or the id of a worker, launched for a generation of the cluster's spec.
    endpoint
        gRPC target of the controller, such as "unix:/run/agents.sock" or "controller:8443".
    ca_pem
        Certificate authority of the endpoint. Empty means the system's own, or none for a unix socket.
    token
        Token of the cluster, sent with each call.
    """

    deployment: str
    cluster: str
    process: str
    role: str
    generation: int
    endpoint: str
    ca_pem: str = ""
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.role not in (SCHEDULER, WORKER):
            raise IdentityMissing(f"the role of a process is {SCHEDULER!r} or {WORKER!r}, not {self.role!r}")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Identity:
        """Reads the variables that `to_environment` writes, and the file of `move_token_to_file`."""
        try:
            return cls(
                deployment=environ["HEADRACE_DEPLOYMENT"],
                cluster=environ["HEADRACE_CLUSTER"],
                process=environ["HEADRACE_PROCESS"],
                role=environ["HEADRACE_ROLE"],
                generation=int(environ["HEADRACE_GENERATION"]),
                endpoint=environ["HEADRACE_AGENT_ENDPOINT"],
                ca_pem=environ.get("HEADRACE_AGENT_CA_PEM", ""),
                token=_token(environ),
            )
        except KeyError as error:
            raise IdentityMissing(
                f"{error.args[0]} is not set: the agent is started by headrace only, which sets it"
            ) from None
        except ValueError:
            raise IdentityMissing("HEADRACE_GENERATION is not a number") from None

    def to_environment(self) -> dict[str, str]:
        """Returns the environment variables that `from_environment` reads."""
        return {
            "HEADRACE_DEPLOYMENT": self.deployment,
            "HEADRACE_CLUSTER": self.cluster,
            "HEADRACE_PROCESS": self.process,
            "HEADRACE_ROLE": self.role,
            "HEADRACE_GENERATION": str(self.generation),
            "HEADRACE_AGENT_ENDPOINT": self.endpoint,
            "HEADRACE_AGENT_CA_PEM": self.ca_pem,
            _TOKEN: self.token,
        }


def move_token_to_file(environ: MutableMapping[str, str], file: Path) -> None:
    """Moves the token from an environment to a file that only this user can read; `remove_token` removes it."""
    file.unlink(missing_ok=True)
    with open(file, "x", encoding="utf-8", opener=_private) as opened:
        opened.write(environ.pop(_TOKEN))
    environ[_TOKEN_FILE] = str(file.absolute())


def keep_token(environ: MutableMapping[str, str]) -> Callable[[], str]:
    """Removes the token from an environment; returns what reads it again, for its file may be renewed.

    Reading raises `IdentityMissing` if the file has gone.
    """
    kept = {name: environ.pop(name) for name in (_TOKEN, _TOKEN_FILE) if name in environ}
    return lambda: _token(kept)


def remove_token(environ: MutableMapping[str, str]) -> None:
    """Removes the token from an environment, with its file, so that no code of a user finds it there."""
    environ.pop(_TOKEN, None)
    if file := environ.pop(_TOKEN_FILE, None):
        with contextlib.suppress(OSError):
            Path(file).unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _token(environ: Mapping[str, str]) -> str:
    if _TOKEN in environ or not (file := environ.get(_TOKEN_FILE)):
        return environ[_TOKEN]
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise IdentityMissing(f"the token of this process cannot be read: {error}") from error
