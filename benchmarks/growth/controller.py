"""A controller whose backend runs no processes: ``python -m benchmarks.growth.controller SETTINGS DIRECTORY``.

It prints its processor time after the imports, then a line for each process that it launches. What "runs" is kept in a
file of the directory while the controller is restarted.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import uvloop
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine

from headrace_chassis import logs
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.seal import read_deployment_keys
from headrace_chassis.identity.tokens import Keys, TokenVerifier
from headrace_chassis.server import App, serve
from headrace_controller.app import build_with
from headrace_controller.backends.base import Backend
from headrace_controller.backends.process import ProcessSpec
from headrace_controller.config import Settings

_PIPE_BYTES = 1 << 20
_DAY = 86400.0


async def main(settings: Settings, directory: Path, report: Callable[[str], None]) -> None:
    machine = FakeMachine()
    kept = directory / "machine"
    if kept.exists():
        for spec, status, manifest in pickle.loads(kept.read_bytes()):
            machine.specs[spec.key.cluster, spec.key.process] = spec
            machine.set(status)
            if manifest is not None:
                machine.kept_manifests[spec.key.cluster] = manifest
    tokens = AgentTokens(read_deployment_keys(settings.deployment_key_file), settings.deployment)
    machine.on_start = lambda spec: report(_launch(spec, tokens))
    await serve(settings, Build(directory, FakeBackend(machine)))
    kept.write_bytes(pickle.dumps([_kept(machine, *key) for key in machine.statuses]))


def _launch(spec: ProcessSpec, tokens: AgentTokens) -> str:
    """What its simulated agent needs; with the credential it need not enrol."""
    key = spec.key
    return f"{key.cluster} {key.process} {spec.agent_token} {tokens.credential(key.cluster, key.process, _DAY)}"


def _kept(machine: FakeMachine, cluster: str, process: str) -> object:
    key = (cluster, process)
    manifest = machine.kept_manifests.get(cluster) if process == "scheduler" else None
    return machine.specs[key], machine.statuses[key], manifest


class Build:
    """Builds the controller; access tokens are verified with the key that the benchmark signs with."""

    def __init__(self, directory: Path, backend: Backend) -> None:
        self._key = jwt.PyJWK(json.loads((directory / "jwk").read_text()), "ES256")
        self._backend = backend

    async def __call__(self, settings: Settings, stack: AsyncExitStack) -> App:
        app = await build_with(settings, stack, self._backend)
        return replace(app, verifier=TokenVerifier(self._keys, settings.deployment))

    async def _keys(self) -> Keys:
        return {"k1": self._key}


def run(main: Callable[[Settings, Path, Callable[[str], None]], Coroutine[Any, Any, None]]) -> None:
    """Runs a controller as the command line says, with what reports lines."""
    settings = Settings.model_validate_json(sys.argv[1])
    logs.configure(settings.log_format, settings.log_level, service="controller")
    report = _reporter()
    report(str(time.process_time()))
    uvloop.run(main(settings, Path(sys.argv[2]), report))


def _reporter() -> Callable[[str], None]:
    """Reports lines on standard output; everything else that is printed goes to standard error."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with suppress(OSError):  # uvloop makes a socket
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def report(line: str) -> None:
        output.write(f"{line}\n")
        output.flush()

    return report


if __name__ == "__main__":
    run(main)
