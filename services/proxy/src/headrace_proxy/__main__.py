"""``python -m headrace_proxy``: serve, check-config, bootstrap."""

from __future__ import annotations

import typer

from headrace.errors import HeadraceError
from headrace_chassis.command import ConfigFile, load_settings, service_command
from headrace_proxy.app import build
from headrace_proxy.config import Settings
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


if __name__ == "__main__":
    app(prog_name="python -m headrace_proxy")
