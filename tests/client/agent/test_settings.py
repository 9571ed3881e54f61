"""Settings of an enrolment."""

from __future__ import annotations

from headrace.agent.settings import dask_config
from headrace.internal.v1 import agent_service_pb2 as pb


def test_whole_numbers_of_a_configuration_stay_whole() -> None:
    response = pb.EnrollResponse()
    response.dask_config.update({"a": {"b": 3, "c": 0.5, "d": [1, "x", None, True]}})
    assert dask_config(response.dask_config) == {"a": {"b": 3, "c": 0.5, "d": [1, "x", None, True]}}
    assert isinstance(dask_config(response.dask_config)["a"]["b"], int)  # type: ignore[index]
