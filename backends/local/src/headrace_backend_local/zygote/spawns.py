"""Processes with a command and environment of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from headrace_backend_local.protocol import Order
from headrace_backend_local.zygote.child import Child


class CannotStart(Exception):
    """The command does not run. The message says why; the code is what a shell would return."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def spawn(order: Order) -> Child:
    """Starts the command of an order."""
    with open(order.log, "ab", opener=_private) as output:
        try:
            popen = subprocess.Popen(
                order.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=order.directory,
                env=order.environment,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            failure = _explain(order, error)
            output.write(f"{failure}\n".encode())
            raise failure from error
    return Child(popen.pid, popen=popen)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _explain(order: Order, error: OSError | ValueError) -> CannotStart:
    command = order.command[0]
    if isinstance(error, FileNotFoundError) and not Path(order.directory).is_dir():
        return CannotStart(f"{command} cannot start: its directory {order.directory} is gone", 1)
    if isinstance(error, FileNotFoundError) and "/" not in command:
        path = order.environment.get("PATH", os.defpath)
        return CannotStart(f"command not found: {command}; searched in PATH={path}", 127)
    if isinstance(error, FileNotFoundError):
        return CannotStart(f"command not found: {command} does not exist, or the interpreter that it names", 127)
    if isinstance(error, PermissionError):
        return CannotStart(f"{command} cannot be executed: permission denied", 126)
    return CannotStart(f"{command} cannot start: {error}", 126)
