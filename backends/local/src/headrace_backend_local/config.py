"""Settings of the local backend."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from headrace_backend_local.environment import NICE, STANDBY


class Settings(BaseModel):
    """Settings of the local backend, ``backends.local`` of the controller's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path = Field(
        default=Path("headrace-local"),
        description="Directory for logs, manifests and working directories of clusters, and for the zygote's socket.",
    )
    warm: bool = Field(default=True, description="Fork processes from a parent that has everything imported.")
    standby: int = Field(
        default=STANDBY, ge=0, le=64, description="Number of schedulers that are forked in advance. Only with `warm`."
    )
    nice: int = Field(
        default=NICE,
        ge=0,
        le=19,
        description="Added to the niceness of clusters' processes, so that the services stay responsive.",
    )
    listen_host: str = Field(
        default="127.0.0.1", description="Address that Dask processes listen on. Empty means Dask's default."
    )
