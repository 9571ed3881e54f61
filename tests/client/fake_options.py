"""OptionsService of the fake headrace: an option of each type.

`tests/contract/test_options_service.py` holds it to the real one.
"""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

from typing import Any

from headrace import errors
from headrace.option_protos import set_type, value_to_proto
from headrace.option_types import (
    Bool,
    Bytes,
    Choice,
    Duration,
    Float,
    Int,
    NumberMapping,
    OptionType,
    Select,
    Text,
    TextList,
    TextMapping,
)
from headrace.v1 import options_service_pb2 as pb
from headrace.v1 import options_service_pb2_grpc

OPTIONS: list[tuple[str, str, OptionType | None, object]] = [
    ("worker_cores", "", Int(1, 16), 2),
    ("worker_memory", "Memory of a worker", Bytes(1 << 20), 2 << 30),
    ("size", "", Select((Choice("small"), Choice("large", "Large one"))), "small"),
    ("environment", "", TextMapping(8, ("HEADRACE_*",)), {}),
    ("worker_resources", "", NumberMapping(8), {}),
    ("gpu", "", Bool(), False),
    ("spot", "", Float(0, 1), 0.5),
    ("image", "", Text(64, "([a-z]+:[0-9]+)?"), ""),
    ("patience", "", Duration(0, 86400), 3600.0),
    ("command", "", TextList(4), []),
    ("from_the_future", "", None, "as it is"),
]
PROFILES = [
    pb.Profile(key="standard", label="Standard", description="For everything."),
    pb.Profile(key="gpu", label="GPU", description="Workers with a GPU."),
]


class FakeOptions(options_service_pb2_grpc.OptionsServiceServicer):
    """The same options for both profiles; of "gpu" another default."""

    def ListProfiles(self, request: pb.ListProfilesRequest, context: Any) -> pb.ListProfilesResponse:
        return pb.ListProfilesResponse(profiles=PROFILES)

    def ListOptions(self, request: pb.ListOptionsRequest, context: Any) -> pb.ListOptionsResponse:
        check_profile(request.profile)
        return pb.ListOptionsResponse(options=options(request.profile))


def check_profile(profile: str, field: str = "profile") -> None:
    if profile not in {"", *(known.key for known in PROFILES)}:
        raise errors.InvalidRequest.of(errors.Violation(field, f"there is no profile {profile!r}"))


def options(profile: str = "") -> list[pb.Option]:
    found: list[pb.Option] = []
    for key, description, type_, default in OPTIONS:
        value = True if (profile, key) == ("gpu", "gpu") else default
        option = pb.Option(key=key, description=description, default_value=value_to_proto(value))
        if type_ is not None:
            set_type(option, type_)
        found.append(option)
    return found
