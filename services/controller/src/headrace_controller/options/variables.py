"""Environment variables of a cluster's processes: what users may give, and what follows from other options."""

from __future__ import annotations

from headrace.option_types import TextMapping

VARIABLES = TextMapping(
    key_pattern=r"[-._A-Za-z][-._A-Za-z0-9]*",  # what every platform takes; Kubernetes refuses others when it is late
    denied_keys=(
        "HEADRACE_*",
        "DASK_DISTRIBUTED__COMM__TLS__*",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION",
        "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME",
        "DASK_INTERNAL_INHERIT_CONFIG",
        "DASK_SCHEDULER_ADDRESS",
        "SPT_NOENV",
    ),
)
"""Without what headrace sets itself: with other values a process would not find or trust its cluster."""

ENVIRONMENT = "environment"
"""Key of the option with the users' own variables."""

PREFIX = f"{ENVIRONMENT}."
"""Prefix of the keys under which variables are stored that follow from other options. They override users' own."""
