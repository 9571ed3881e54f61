"""OptionsService: profiles and options."""

from __future__ import annotations

from tests.controller.errors_of import wrong_fields
from tests.controller.user import User

from headrace.option_protos import get_type, value_from_proto
from headrace.v1 import options_service_pb2 as pb


async def test_there_is_a_default_profile(ann: User) -> None:
    profiles = (await ann.ask_options("ListProfiles", pb.ListProfilesRequest())).profiles
    assert all(profile.key and profile.label for profile in profiles)
    assert (await ann.create()).spec.profile == profiles[0].key


async def test_each_profile_has_options_with_types_and_defaults_that_fit(ann: User) -> None:
    profiles = (await ann.ask_options("ListProfiles", pb.ListProfilesRequest())).profiles
    for key in ("", *(profile.key for profile in profiles)):
        options = (await ann.ask_options("ListOptions", pb.ListOptionsRequest(profile=key))).options
        assert {"worker_cores", "worker_memory"} <= {option.key for option in options}
        for option in options:
            default = value_from_proto(option.default_value)
            assert default is not None
            type_ = get_type(option)
            assert type_ is None or type_.check(default) == default


async def test_an_unknown_profile_is_named(ann: User) -> None:
    wrong = ann.ask_options("ListOptions", pb.ListOptionsRequest(profile="no-such-profile"))
    assert await wrong_fields(wrong) == {"profile"}


async def test_what_is_listed_can_be_asked_for(ann: User) -> None:
    made = await ann.create({"worker_cores": 3, "environment": {"A": "b"}})
    assert value_from_proto(made.spec.options["worker_cores"]) == 3
    assert value_from_proto(made.spec.options["environment"]) == {"A": "b"}
