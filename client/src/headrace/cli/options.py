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
        help="Where headrace answers, such as https://dask.example.org:8790. By default what Dask's configuration "
        "says, or the `headrace up` of this machine.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="DASK_HEADRACE__TLS__CA_FILE",
        help="Certificate authority that signed the certificate of the address, PEM.",
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="HEADRACE_JSON", help="Answer in JSON, for programs.")]
Cluster = Annotated[str, typer.Argument(metavar="CLUSTER", help="Id of the cluster, or the alias that you gave it.")]
Group = Annotated[str, typer.Option("--group", help="Group of workers.")]
