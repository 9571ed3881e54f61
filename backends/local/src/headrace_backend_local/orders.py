"""From what the controller asks for to what the nursery is to do. Pure: nothing is started or looked up here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from headrace.agent.identity import Identity
from headrace_backend_local import places
from headrace_backend_local.environment import (
    TITLE_DEFAULTS,
    WORKER_DEFAULTS,
    inherited,
    needs_fresh_interpreter,
)
from headrace_backend_local.marks import VARIABLE, Mark, is_name, site
from headrace_backend_local.protocol import Order
from headrace_controller.backends.base import ProcessSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Makes orders for one deployment in one local directory.

    Attributes
    ----------
    warm
        Fork where the options allow it.
    environ
        The server's own environment.
    """

    deployment: str
    directory: Path
    warm: bool
    environ: Mapping[str, str]

    def of(self, spec: ProcessSpec) -> Order:
        """Returns the order for a process; wrong options make it one that is refused."""
        if not (is_name(spec.key.cluster) and is_name(spec.key.process)):
            raise ValueError(f"{spec.key} cannot name a process: letters, digits, '.', '_' and '-' only")
        mark = Mark(site(self.deployment, self.directory), spec.key, spec.generation)
        refusal, command, environment = "", [""], dict[str, str]()
        try:
            command, environment = self._recipe(spec, mark)
        except _WrongOption as error:
            refusal = str(error)
        return Order(
            cluster=spec.key.cluster,
            process=spec.key.process,
            role=spec.role,
            generation=spec.generation,
            mark=str(mark),
            title=mark.title,
            command=command,
            environment=environment,
            directory=str(places.work(self.directory, spec.key.cluster)),
            log=str(places.log_file(self.directory, spec.key)),
            refusal=refusal,
        )

    def _recipe(self, spec: ProcessSpec, mark: Mark) -> tuple[list[str], dict[str, str]]:
        """Returns the command, empty to fork, and the environment."""
        command = _words(spec.options)
        prefix = _prefix(spec.options)
        asked = {**_variables(spec.options), **spec.environment}
        own = {**self._identity(spec), VARIABLE: str(mark)}
        if self.warm and not command and not prefix and not needs_fresh_interpreter(asked):
            return [], {**asked, **own}
        environment = {
            **WORKER_DEFAULTS,
            **inherited(self.environ),
            "PYTHONUNBUFFERED": "1",
            "DASK_TEMPORARY_DIRECTORY": str(places.work(self.directory, spec.key.cluster)),
            **asked,
            **own,
            **TITLE_DEFAULTS,
        }
        if prefix:
            environment = _in_conda(environment, prefix, asked)
        python = f"{prefix}/bin/python" if prefix else sys.executable
        return command or [python, "-m", "headrace.agent"], environment

    def _identity(self, spec: ProcessSpec) -> Mapping[str, str]:
        return Identity(
            deployment=self.deployment,
            cluster=spec.key.cluster,
            process=spec.key.process,
            role=str(spec.role),
            generation=spec.generation,
            endpoint=spec.agent_endpoint,
            ca_pem=spec.agent_ca_pem,
            token=spec.agent_token,
        ).to_environment()


class _WrongOption(Exception):
    """An option is not what it has to be."""


def _words(options: Mapping[str, object]) -> list[str]:
    value = options.get("start_command") or []
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in cast("list[object]", value)):
        raise _WrongOption(f"option start_command must be a list of strings, not {value!r}")
    return [*cast("list[str]", value)]


def _prefix(options: Mapping[str, object]) -> str:
    value = options.get("conda_prefix") or ""
    if not isinstance(value, str) or (value and not value.startswith("/")):
        raise _WrongOption(f"option conda_prefix must be the absolute path of an environment, not {value!r}")
    return value.rstrip("/")


def _variables(options: Mapping[str, object]) -> dict[str, str]:
    value = options.get("environment") or {}
    if not isinstance(value, Mapping):
        raise _WrongOption(f"option environment must map names to values, not {value!r}")
    variables = {str(name): str(v) for name, v in cast("Mapping[object, object]", value).items()}
    for name, text in variables.items():
        if not name or "=" in name or "\0" in name + text:
            raise _WrongOption(f"option environment: {name!r} cannot be set")
    return variables


def _in_conda(environment: dict[str, str], prefix: str, asked: Mapping[str, str]) -> dict[str, str]:
    # What leads to the server's own environment would be in the way, unless it was asked for.
    kept = {n: v for n, v in environment.items() if n in asked or n not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    path = kept.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {**kept, "CONDA_PREFIX": prefix, "PATH": f"{prefix}/bin:{path}"}
