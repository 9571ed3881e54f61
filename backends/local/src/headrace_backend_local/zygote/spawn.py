"""Starts processes with a command and an environment of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from headrace_backend_local.protocol import LaunchSpec
from headrace_backend_local.zygote.child import Child

_NICEST = 19


class CannotStart(Exception):
    """The command does not run. The message says why; the code is what a shell would return."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def spawn(spec: LaunchSpec, nice: int) -> Child:
    """Starts the command of a launch spec, as the leader of a process group."""
    with open(spec.log, "ab", opener=_private) as output:
        try:
            popen = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=spec.directory,
                env=spec.environment,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            failure = _explain(spec, error)
            output.write(f"{failure}\n".encode())
            raise failure from error
    # From outside, for a function to run before exec(2) would make Popen fork all that the zygote has imported.
    with contextlib.suppress(ProcessLookupError):
        priority = os.getpriority(os.PRIO_PROCESS, 0) + nice
        os.setpriority(os.PRIO_PGRP, popen.pid, min(priority, _NICEST))
    return Child(popen.pid, popen=popen)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _explain(spec: LaunchSpec, error: OSError | ValueError) -> CannotStart:
    command = spec.command[0]
    if isinstance(error, FileNotFoundError) and not Path(spec.directory).is_dir():
        return CannotStart(f"{command} cannot start: its directory {spec.directory} does not exist any more", 1)
    if isinstance(error, FileNotFoundError) and "/" not in command:
        path = spec.environment.get("PATH", os.defpath)
        return CannotStart(f"command not found: {command}; searched in PATH={path}", 127)
    if isinstance(error, FileNotFoundError):
        return CannotStart(f"command not found: {command} does not exist, or its interpreter does not", 127)
    if isinstance(error, PermissionError):
        return CannotStart(f"{command} cannot be executed: permission denied", 126)
    return CannotStart(f"{command} cannot start: {error}", 126)
