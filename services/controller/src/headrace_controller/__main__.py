"""``python -m headrace_controller``: serve, check-config, check-policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace_chassis.command import service_command
from headrace_controller.app import build, check_policy
from headrace_controller.config import Settings
from headrace_controller.policy.current import BadPolicyFile, read_file

app = service_command("controller", Settings, build, check_policy)


@app.command("check-policy")
def check_policy_file(file: Annotated[Path, typer.Argument(help="Policy file, YAML.")]) -> None:
    """Check a policy file by itself, without settings. Whether the backends fit it, check-config tells."""
    try:
        read_file(file)
    except BadPolicyFile as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{file}: no problems found")


if __name__ == "__main__":
    app(prog_name="python -m headrace_controller")
