"""Applies the Dask configuration and the environment of an enrolment to this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

import dask
import dask.config
from distributed.config import initialize_logging
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from headrace.internal.v1 import agent_service_pb2 as pb


def apply(enrollment: pb.EnrollResponse) -> None:
    """Sets the environment, then Dask's configuration, which overrides what the process had before."""
    environment = dict(enrollment.environment)
    os.environ.update(environment)
    config = dask_config(enrollment.dask_config)
    for layer in (dask.config.collect_env(environment), config):
        if layer:
            dask.config.update(dask.config.config, layer, priority="new")
    if "logging" in config or "logging" in cast("Mapping[str, object]", config.get("distributed", {})):
        initialize_logging(dask.config.config)


def dask_config(struct: Struct) -> dict[str, object]:
    """Returns nested configuration; whole numbers, which a Struct carries as floats, are integers again."""
    return cast("dict[str, object]", _with_integers(MessageToDict(struct)))


def _with_integers(value: object) -> object:
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_with_integers(item) for item in cast("list[object]", value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
