"""Starts processes with a command and an environment of their own.

The command is executed in a forked process, since the zygote itself must not know it.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from headrace.agent.identity import move_token_to_file
from headrace_backend_local.process_tags import mark_this_process, tag_this_process
from headrace_backend_local.protocol import LaunchSpec
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.forks import enter, fork
from headrace_backend_local.zygote.launch_files import LaunchFiles
from headrace_backend_local.zygote.loop import Loop


class CannotStart(Exception):
    """The command does not run. The message says why; the code is what a shell would return."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def spawn(loop: Loop, spec: LaunchSpec, files: LaunchFiles, nice: int) -> Child:
    """Starts the command of a process, as the leader of a process group; `Child.failure` says why it does not run."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    loop.keep(reading)
    try:
        child = fork(loop, partial(_execute, spec, files, writing), nice, files, session=bool(spec.account))
    except OSError:
        loop.discard(reading)
        raise
    finally:
        os.close(writing)
    child.failure = reading
    return child


def _execute(spec: LaunchSpec, files: LaunchFiles, failure: int) -> int:
    tag_this_process(spec.tag)
    mark_this_process(spec.tag)
    enter(spec, files)
    secrets = files.read_secrets()
    os.closerange(3, failure)
    os.closerange(failure + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python
        signal.signal(number, signal.SIG_DFL)
    try:
        move_token_to_file(secrets.environment, Path(f".{spec.process}.token"))
        os.execvpe(secrets.command[0], secrets.command, secrets.environment)  # noqa: S606 on purpose
    except (OSError, ValueError) as error:
        reason = _explain(spec, secrets.command[0], secrets.environment, error)
        print(reason, flush=True)
        os.write(failure, str(reason).encode(errors="replace")[: 4 * 1024])
        return reason.code


def _explain(
    spec: LaunchSpec, command: str, environment: Mapping[str, str], error: OSError | ValueError
) -> CannotStart:
    if isinstance(error, FileNotFoundError) and not Path(spec.directory).is_dir():
        return CannotStart(f"{command} cannot start: its directory {spec.directory} does not exist any more", 1)
    if isinstance(error, FileNotFoundError | NotADirectoryError) and "/" not in command:
        path = environment.get("PATH", os.defpath)
        return CannotStart(f"command not found: {command}; searched in PATH={path}", 127)
    if isinstance(error, FileNotFoundError):
        return CannotStart(f"command not found: {command} does not exist, or its interpreter does not", 127)
    if isinstance(error, PermissionError):
        return CannotStart(f"{command} cannot be executed: permission denied", 126)
    return CannotStart(f"{command} cannot start: {error}", 126)
