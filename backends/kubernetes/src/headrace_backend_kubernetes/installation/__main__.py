"""``python -m headrace_backend_kubernetes.installation``: what the jobs of the Helm chart run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from typing import Annotated, TypeVar

import typer
import yaml
from kubernetes.aio.client import ApiException

from headrace_backend_kubernetes.installation.credentials import Installation, ensure_credentials
from headrace_backend_kubernetes.installation.objects import KubernetesObjects, in_cluster, remove_pods

T = TypeVar("T")
Wanted = Annotated[str, typer.Option(envvar="HEADRACE_INSTALLATION", help="What the chart wants, in YAML.")]

app = typer.Typer(help="Jobs of headrace's Helm chart.", no_args_is_help=True, add_completion=False)


@app.command()
def credentials(wanted: Wanted) -> None:
    """Make the keys, tokens and certificates that are missing, and renew certificates that expire."""
    installation = Installation.model_validate(yaml.safe_load(wanted))
    done = _run("credentials", _credentials(installation))
    typer.echo("\n".join(done or ["Nothing is missing, and nothing expires soon"]))


@app.command("stop-clusters")
def stop_clusters(
    within: Annotated[float, typer.Option(help="Seconds within which the clusters must have ended.")] = 120,
) -> None:
    """Stop the clusters of all users. What cannot be stopped is reported, and keeps nobody from uninstalling."""
    command = [sys.executable, "-m", "headrace.cli", "clusters", "stop", "--all", "--owner", "-"]
    try:
        failed = subprocess.run(command, timeout=within, check=False).returncode
    except subprocess.TimeoutExpired:
        failed = 1
    if failed:
        typer.echo("Not all clusters were stopped in order; their pods are removed with the release", err=True)


@app.command("remove-pods")
def remove(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment.")],
    namespaces: Annotated[list[str], typer.Argument(help="Namespaces of its Dask pods.")],
) -> None:
    """Remove all Dask pods of a deployment that is no more."""
    _run("remove-pods", remove_pods(deployment, namespaces))
    typer.echo(f"The Dask pods of {deployment} in {', '.join(namespaces)} are removed")


def _run(command: str, job: Coroutine[None, None, T]) -> T:
    try:
        return asyncio.run(job)
    except ApiException as error:
        typer.echo(
            f"headrace {command}: the API server refuses it ({error.status} {error.reason}): {error.body}; "
            "check the rights of this job's service account",
            err=True,
        )
        raise typer.Exit(1) from None


async def _credentials(wanted: Installation) -> Sequence[str]:
    async with in_cluster() as api:
        return await ensure_credentials(wanted, KubernetesObjects(api, wanted.namespace, wanted.labels))


if __name__ == "__main__":
    app(prog_name="python -m headrace_backend_kubernetes.installation")
