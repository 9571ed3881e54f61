"""`headrace version`."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import typer

from headrace.cli.options import Json

app = typer.Typer(add_completion=False)

PACKAGES = ("headrace", "dask", "distributed", "grpcio", "protobuf")


@app.command()
def version(as_json: Json = False) -> None:
    """Show the versions of headrace and of the packages that it uses."""
    found = versions()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, number in found.items():
        print(f"{name:<12} {number or 'not installed'}")


def versions() -> dict[str, str | None]:
    """Return the versions of what is installed here; None for what is not."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return {**found, "python": platform.python_version()}
