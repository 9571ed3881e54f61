"""Settings of measurements."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class SignalSettings(BaseModel):
    """How clusters are measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prometheus_url: str = Field(
        default="",
        pattern=r"^(https?://[^/?#\s@]+(/[^?#\s]*)?)?$",
        description="Prometheus that scrapes the schedulers, such as http://prometheus:9090. Empty: the controller "
        "reads the schedulers' pages itself.",
    )
    prometheus_job: str = Field(
        default="headrace-schedulers",
        pattern=r'^[^"\\\s]{1,128}$',
        description="Job of the schedulers in that Prometheus; series of other jobs are never believed.",
    )
    prometheus_token_file: Path | None = Field(
        default=None, description="File with the bearer token for that Prometheus; it is read for each round."
    )
    prometheus_ca_file: Path | None = Field(
        default=None,
        description="Certificate authority of that Prometheus, PEM; it is read again when it changes. None: those of "
        "the system.",
    )
    interval_seconds: float = Field(default=15, ge=0.2, le=300, description="Seconds between two rounds of measuring.")
    stale_seconds: float = Field(
        default=90,
        gt=0,
        le=3600,
        description="Age in seconds from which a sample is stale: nothing is culled or stopped on account of it. At "
        "least twice `interval_seconds` counts.",
    )
    timeout_seconds: float = Field(
        default=5, gt=0, le=60, description="Seconds within which a scheduler, or Prometheus, must have answered."
    )
    at_once: int = Field(default=100, ge=1, le=2000, description="Schedulers that are read at the same time.")
