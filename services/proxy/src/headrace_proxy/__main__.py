"""Commands: serve, check-config, bootstrap, stop-envoy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from headrace_chassis.command import service_command
from headrace_proxy.app import build
from headrace_proxy.config import Settings
from headrace_proxy.envoy.bootstrap import bootstrap
from headrace_proxy.envoy_keeper import stop_envoy
from headrace_proxy.state_directory import write_public_certificate

app = service_command("proxy", Settings, build)


@app.command("bootstrap")
def print_bootstrap(
    config: Annotated[
        Path | None, typer.Option(envvar="HEADRACE_PROXY_CONFIG", help="YAML file with settings.")
    ] = None,
) -> None:
    """Prints the bootstrap for an Envoy that somebody else runs, and writes where its certificate lies."""
    settings = Settings.load(config)
    settings.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_public_certificate(settings)
    typer.echo(json.dumps(bootstrap(settings), indent=1))


@app.command("stop-envoy")
def stop(
    state_directory: Annotated[
        Path, typer.Option(envvar="HEADRACE_PROXY_STATE_DIRECTORY", help="State directory of the proxy that is gone.")
    ],
) -> None:
    """Ends the Envoy that a proxy left behind when it was killed."""
    ended = asyncio.run(stop_envoy(state_directory))
    typer.echo(f"ended {ended} Envoy" if ended else "no Envoy runs here")


if __name__ == "__main__":
    app()
