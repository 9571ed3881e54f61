"""The command line of a service: ``serve`` and ``check-config``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import uvloop
from pydantic import ValidationError

from headrace.errors import HeadraceError
from headrace_chassis import logs
from headrace_chassis.identity.seal import DeploymentKeyError
from headrace_chassis.server import App, serve
from headrace_chassis.settings import ServiceSettings
from headrace_chassis.tls.certificate_files import BadTlsFile
from headrace_chassis.tls.listener import AddressInUse

S = TypeVar("S", bound=ServiceSettings)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", envvar="HEADRACE_CONFIG", help="YAML file of settings; the environment wins over it."),
]
# An administrator can correct these: they are shown as a sentence, all others with a traceback.
_EXPLAINED = (AddressInUse, BadTlsFile, DeploymentKeyError, HeadraceError)


def service_command(
    name: str,
    settings_class: type[S],
    build: Callable[[S, AsyncExitStack], Awaitable[App]],
    check: Callable[[S], object] | None = None,
) -> typer.Typer:
    """Return the command line of the service `name`.

    Parameters
    ----------
    check
        What ``check-config`` checks beyond the settings; raises HeadraceError or ValueError.
    """
    command = typer.Typer(help=f"headrace's {name} service.", no_args_is_help=True, add_completion=False)

    @command.command("serve")
    def run(config: ConfigFile = None) -> None:
        """Run the service until SIGTERM or Ctrl-C."""
        settings = load_settings(settings_class, config)
        logs.configure(settings.log_format, settings.log_level, service=name)
        try:
            uvloop.run(serve(settings, build))
        except* _EXPLAINED as group:
            for error in group.exceptions:
                typer.echo(f"headrace {name}: {error}", err=True)
            raise typer.Exit(1) from None

    @command.command("check-config")
    def check_config(config: ConfigFile = None) -> None:
        """Read and check the settings, print them, and start nothing."""
        settings = load_settings(settings_class, config)
        try:
            if check is not None:
                check(settings)
        except (HeadraceError, ValueError) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None
        typer.echo(settings.model_dump_json(indent=2))

    _ = run, check_config
    return command


def load_settings(settings_class: type[S], config: Path | None) -> S:
    """Read the settings; print what is wrong with them and exit with code 2."""
    try:
        return settings_class.load(config)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            where = ".".join(map(str, problem["loc"]))
            typer.echo(f"{_spelled(settings_class, where)}: {problem['msg']}".removeprefix(": "), err=True)
    except (ValueError, TypeError) as error:
        typer.echo(str(error), err=True)
    raise typer.Exit(2)


def _spelled(settings_class: type[ServiceSettings], field: str) -> str:
    """Name a setting in both spellings, for the file and for the environment."""
    variable = f"{settings_class.model_config.get('env_prefix', '')}{field.replace('.', '__')}".upper()
    return f"{field} ({variable})" if field else ""
