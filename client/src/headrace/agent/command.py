"""Runs a user's command, such as ``dask cuda worker``, in place of Dask's own scheduler or worker.

The command gets the enrolment through environment variables that every Dask command reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import dask.config
from distributed.compatibility import asyncio_run
from distributed.config import get_loop_factory

from headrace.agent.channel import ControllerChannel
from headrace.agent.enrollment import enroll
from headrace.agent.grace import grace_seconds, hands_over, usable_seconds
from headrace.agent.identity import SCHEDULER, Identity, move_token_to_file
from headrace.agent.leaving import hand_over_of
from headrace.agent.settings import apply, dask_config
from headrace.agent.tls import RenewableSecurity, certificates_of
from headrace.internal.v1 import agent_service_pb2 as pb

logger = logging.getLogger("headrace.agent")

PRELOAD = "headrace.agent.preload"
# What a command needs to end when its worker has handed everything over.
_CLOSE_SECONDS = 1.0


def run_command(identity: Identity, command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Enrols, runs the command until it ends, and returns its exit code."""
    enrollment = asyncio_run(_enroll(identity), loop_factory=get_loop_factory())
    apply(enrollment)
    with _certificate_files(enrollment) as files:
        environment = {**environ, **enrollment.environment, **command_environment(identity, enrollment, files)}
        return _run(command, environment, _leave(identity, enrollment, grace_seconds(environ)))


def _leave(identity: Identity, enrollment: pb.EnrollResponse, grace: float) -> Callable[[], None] | None:
    """Returns what to do before the command is asked to end; None if there is no time for it, or nothing to do."""
    if identity.role == SCHEDULER or not hands_over(grace):
        return None

    def leave() -> None:
        logger.info("this worker leaves")
        security = RenewableSecurity(certificates_of(enrollment))
        seconds = usable_seconds(grace) - _CLOSE_SECONDS
        asyncio.run(hand_over_of(identity.process, enrollment.scheduler_address, security, seconds))

    return leave


def command_environment(identity: Identity, enrollment: pb.EnrollResponse, files: Mapping[str, str]) -> dict[str, str]:
    """Returns the enrolment as environment variables that Dask reads."""
    variables = {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls",
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": files["ca"],
    }
    for role in ("scheduler", "worker", "client"):
        variables[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__CERT"] = files["cert"]
        variables[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__KEY"] = files["key"]
    if enrollment.dask_config:
        # Whole, as Dask passes configuration to its own subprocesses.
        variables["DASK_INTERNAL_INHERIT_CONFIG"] = dask.config.serialize(dask_config(enrollment.dask_config))
    if identity.role == SCHEDULER:
        # For the agent in the preload, which removes the token.
        variables |= identity.to_environment()
        move_token_to_file(variables, Path(files["ca"]).with_name("token"))
    else:
        variables["DASK_SCHEDULER_ADDRESS"] = enrollment.scheduler_address
    preload: list[str] = dask.config.get(f"distributed.{identity.role}.preload")
    variables[f"DASK_DISTRIBUTED__{identity.role.upper()}__PRELOAD"] = json.dumps([*preload, PRELOAD])
    return variables


async def _enroll(identity: Identity) -> pb.EnrollResponse:
    channel = ControllerChannel(identity)
    try:
        return await enroll(channel, identity)
    finally:
        await channel.close()


@contextlib.contextmanager
def _certificate_files(enrollment: pb.EnrollResponse) -> Generator[dict[str, str]]:
    """Writes the PEM texts to files that only this user can read, and removes them at the end."""
    with tempfile.TemporaryDirectory(prefix="headrace-agent-") as directory:
        pems = {"ca": enrollment.ca_pem, "cert": enrollment.certificate_pem, "key": enrollment.private_key_pem}
        files = {name: Path(directory) / f"{name}.pem" for name in pems}
        for name, file in files.items():
            file.touch(mode=0o600)
            file.write_text(pems[name])
        yield {name: str(file) for name, file in files.items()}


def _run(command: Sequence[str], environment: Mapping[str, str], leave: Callable[[], None] | None) -> int:
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []  # signals that came before there was a process
    leaving = threading.Event()

    def leave_and_end(number: int, process: subprocess.Popen[bytes]) -> None:
        try:
            if leave is not None:
                leave()
        finally:
            process.send_signal(number)

    def forward(number: int, _frame: FrameType | None) -> None:
        if process is None:
            early.append(number)
        elif leave is None or number != signal.SIGTERM or leaving.is_set():
            process.send_signal(number)
        else:
            leaving.set()
            threading.Thread(target=leave_and_end, args=(number, process), name="headrace leaving", daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    process = _start(command, environment)
    while early:
        forward(early.pop(0), None)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, env=environment)
    except OSError as error:
        raise CommandFailed(f"cannot run {command[0]!r}: {error.strerror}") from error


class CommandFailed(Exception):
    """The command could not be run."""
