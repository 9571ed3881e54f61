"""Envoy as a process: started so that it outlives this one, found again by its command line, ended surely.

A pid file could be stale or missing; the path of its bootstrap on its command line is neither. That file's name
carries the hash of everything that Envoy was started with.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "envoy-"
_CONFIG = b"--config-path"
_GRACE_SECONDS = 1.5


@dataclass(eq=False)
class EnvoyProcess:
    """A running Envoy, held by a descriptor: its pid may not come to mean another process meanwhile."""

    pid: int
    bootstrap_file: Path
    _descriptor: int

    def __post_init__(self) -> None:
        self._ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._descriptor, self._on_end)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended.done()

    async def wait(self) -> str:
        """Waits for its end; returns how it ended, as far as is known."""
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Asks it to end, and kills it if it does not."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await self.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        how = _reap(self._descriptor)
        os.close(self._descriptor)
        self._ended.set_result(how)


def start(binary: Path, bootstrap_file: Path, arguments: Sequence[str], log_file: Path) -> EnvoyProcess:
    """Starts Envoy in a session of its own, out of reach of Ctrl-C and of this process's end."""
    _keep_descriptors()
    argv = [str(binary), _CONFIG.decode(), str(bootstrap_file), *arguments]
    pid = os.posix_spawn(
        binary,
        argv,
        {"PATH": os.defpath},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        # Python ignores these, and what is ignored stays so in a new program.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
    return EnvoyProcess(pid, bootstrap_file, os.pidfd_open(pid))


def _keep_descriptors() -> None:
    # Descriptors that this process inherited, such as the one it reports ready on, would stay open in Envoy for ever.
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if int(descriptor.name) > 2:
                os.set_inheritable(int(descriptor.name), False)


def bootstrap_path(state_directory: Path, digest: str) -> Path:
    """Where the bootstrap with this hash lies."""
    return state_directory / f"{_PREFIX}{digest}.json"


def pids(state_directory: Path) -> list[int]:
    """Process ids of the Envoys that were started for a state directory, by whomever."""
    processes = Path("/proc").glob("[0-9]*")
    return [int(p.name) for p in processes if _bootstrap_of(int(p.name), state_directory.absolute())]


def find(state_directory: Path) -> list[EnvoyProcess]:
    """Takes hold of the Envoys that were started for a state directory."""
    return list(_find(state_directory.absolute()))


def _find(state_directory: Path) -> Iterator[EnvoyProcess]:
    for pid in pids(state_directory):
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            # Once more: the pid may have changed hands before the descriptor held it.
            if bootstrap := _bootstrap_of(pid, state_directory):
                yield EnvoyProcess(pid, bootstrap, descriptor)
            else:
                os.close(descriptor)


def _bootstrap_of(pid: int, state_directory: Path) -> Path | None:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if len(argv) < 3 or argv[1] != _CONFIG:
        return None
    path = Path(os.fsdecode(argv[2]))
    return path if path.parent == state_directory and path.name.startswith(_PREFIX) else None


def _reap(descriptor: int) -> str:
    try:
        result = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return "ended"  # it was adopted: how it ended is for its parent to know
    if result is None:
        return "ended"
    if result.si_code == os.CLD_EXITED:
        return f"exited with code {result.si_status}"
    return f"was killed by {signal.Signals(result.si_status).name}"
