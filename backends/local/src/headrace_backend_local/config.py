"""Settings of the local backend."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from headrace_backend_local.account_rule import AccountRule
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
    accounts: AccountRule = Field(
        default=AccountRule.NONE,
        description="Account that the processes of a user's clusters run as. `none`: the controller's own, so users "
        "are not protected from one another. `same-name`: the machine's account that is called as the user. `pool`: a "
        "user id for each user, from a range. The latter two need root.",
    )
    minimum_uid: int = Field(
        default=1000, ge=1, description="Lowest user id of an account that processes run as. Only with `same-name`."
    )
    pool_first: int = Field(
        default=1_900_000_000,
        ge=1000,
        lt=1 << 31,
        description="First user id, and group id, of the range, which nothing else on this machine may use. "
        "Only with `pool`.",
    )
    pool_size: int = Field(
        default=65_536, ge=1, lt=1 << 31, description="Number of ids in the range. Only with `pool`."
    )
    listen_host: str = Field(
        default="127.0.0.1", description="Address that Dask processes listen on. Empty means Dask's default."
    )
