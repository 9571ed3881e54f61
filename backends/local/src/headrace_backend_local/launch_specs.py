"""From the controller's specs of processes to the zygote's. Pure: nothing is started or looked up here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.agent.identity import Identity
from headrace_backend_local import paths
from headrace_backend_local.accounts import NoAccount
from headrace_backend_local.environment import TITLE_DEFAULTS, WORKER_DEFAULTS
from headrace_backend_local.process_tags import VARIABLE, ProcessTag, site
from headrace_backend_local.protocol import Account, LaunchSecrets, LaunchSpec
from headrace_chassis.environment import inherited, needs_fresh_interpreter
from headrace_controller.backends.base import Deployment
from headrace_controller.backends.process import ProcessSpec


class OwnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the backend's own options; see `plugin.options`."""

    conda_prefix: str = ""
    start_command: list[str] = msgspec.field(default_factory=list[str])

    def __post_init__(self) -> None:
        if self.conda_prefix and not self.conda_prefix.startswith("/"):
            raise ValueError(f"option conda_prefix must be an absolute path, is {self.conda_prefix!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpecs:
    """Makes launch specs for a deployment in a local directory.

    Attributes
    ----------
    warm
        Fork where the options allow it.
    environ
        The server's own environment.
    """

    deployment: Deployment
    directory: Path
    warm: bool
    environ: Mapping[str, str]

    def of(self, spec: ProcessSpec, account: Account | NoAccount | None = None) -> tuple[LaunchSpec, LaunchSecrets]:
        """Returns the launch spec of a process; the zygote refuses it if its settings are wrong or it has no account.

        None as the account means the zygote's own.
        """
        if not (paths.is_name(spec.key.cluster) and paths.is_name(spec.key.process)):
            raise ValueError(f"{spec.key} cannot name a process: letters, digits, '.', '_' and '-' only")
        tag = ProcessTag(site(self.deployment.id, self.directory), spec.key, spec.generation)
        refusal, secrets = "", LaunchSecrets()
        try:
            if isinstance(account, NoAccount):
                raise account
            own = msgspec.convert(dict(spec.settings), OwnOptions)
            secrets = self._secrets(spec, own, tag, account)
        except (msgspec.ValidationError, NoAccount) as error:
            refusal = f"{spec.key.process} cannot start: {error}"
        launch = LaunchSpec(
            cluster=spec.key.cluster,
            process=spec.key.process,
            role=spec.role,
            generation=spec.generation,
            tag=str(tag),
            title=tag.title,
            warm=not secrets.command,
            directory=str(paths.work(self.directory, spec.key.cluster)),
            log=str(paths.log_file(self.directory, spec.key)),
            refusal=refusal,
            account=account if isinstance(account, Account) else None,
        )
        return launch, secrets

    def _secrets(self, spec: ProcessSpec, own: OwnOptions, tag: ProcessTag, account: Account | None) -> LaunchSecrets:
        """Returns the command, empty for a warm process, and the environment."""
        prefix = own.conda_prefix.rstrip("/")
        identity = {**self._identity(spec), VARIABLE: str(tag)}
        person = {"HOME": account.home, "USER": account.name, "LOGNAME": account.name} if account else {}
        if self.warm and not own.start_command and not prefix and not needs_fresh_interpreter(spec.environment):
            return LaunchSecrets(environment={**person, **spec.environment, **identity})
        environment = {
            **WORKER_DEFAULTS,
            **inherited(self.environ),
            **person,
            "PYTHONUNBUFFERED": "1",
            "DASK_TEMPORARY_DIRECTORY": str(paths.work(self.directory, spec.key.cluster)),
            **spec.environment,
            **identity,
            **TITLE_DEFAULTS,
        }
        if prefix:
            environment = _in_conda(environment, prefix, spec.environment)
        python = f"{prefix}/bin/python" if prefix else sys.executable
        command = own.start_command or [python, "-m", "headrace.agent"]
        return LaunchSecrets(command=command, environment=environment)

    def _identity(self, spec: ProcessSpec) -> Mapping[str, str]:
        return Identity(
            deployment=self.deployment.id,
            cluster=spec.key.cluster,
            process=spec.key.process,
            role=str(spec.role),
            generation=spec.generation,
            endpoint=self.deployment.agent_endpoint,
            ca_pem=spec.agent_ca_pem,
            token=spec.agent_token,
        ).to_environment()


def _in_conda(environment: dict[str, str], prefix: str, asked: Mapping[str, str]) -> dict[str, str]:
    # What leads to the server's own environment would be in the way, unless the user asked for it.
    kept = {n: v for n, v in environment.items() if n in asked or n not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    path = kept.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {**kept, "CONDA_PREFIX": prefix, "PATH": f"{prefix}/bin:{path}"}
