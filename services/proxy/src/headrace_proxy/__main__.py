"""``python -m headrace_proxy``: serve, check-config, bootstrap, drain."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.errors import HeadraceError
from headrace_chassis.command import ConfigFile, load_settings, service_command
from headrace_proxy.app import build
from headrace_proxy.config import Settings
from headrace_proxy.drain import DrainTimes, drain
from headrace_proxy.state_directory import write_bootstrap

app = service_command("proxy", Settings, build)


@app.command("bootstrap")
def write(config: ConfigFile = None) -> None:
    """Write the files that Envoy is started with into the state directory; print the path for `--config-path`."""
    settings = load_settings(Settings, config)
    try:
        typer.echo(write_bootstrap(settings))
    except HeadraceError as error:
        typer.echo(f"headrace proxy: {error}", err=True)
        raise typer.Exit(1) from None


@app.command("drain")
def move_connections(
    config: ConfigFile = None,
    delay: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds until load balancers send new connections elsewhere.")
    ] = 5,
    seconds: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds within which connections may move, after the delay.")
    ] = 60,
    connections: Annotated[int, typer.Option(min=0, help="Number of connections with which the drain ends.")] = 0,
) -> None:
    """Have the clients of the Envoy beside this proxy connect to another one; wait until they have. Stop both then."""
    settings = load_settings(Settings, config)
    try:
        drain(settings, DrainTimes(delay=delay, seconds=seconds, connections=connections), typer.echo)
    except HeadraceError as error:
        typer.echo(f"headrace proxy: {error}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app(prog_name="python -m headrace_proxy")
