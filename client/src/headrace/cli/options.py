"""Options that many commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="DASK_HEADRACE__ADDRESS",
        help="Address of headrace, such as https://host:8790. Default: that of Dask's configuration, or "
        "the `headrace up` of this machine.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="DASK_HEADRACE__TLS__CA_FILE",
        help="PEM file of the certificate authority of the address.",
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="HEADRACE_JSON", help="Print JSON, for programs.")]
Cluster = Annotated[str, typer.Argument(metavar="CLUSTER", help="Id of the cluster, or the name that you gave it.")]
Clusters = Annotated[list[str] | None, typer.Argument(metavar="CLUSTER...", help="Ids or names of clusters.")]
Group = Annotated[str, typer.Option("--group", help="Worker group.")]
