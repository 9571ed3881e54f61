"""OptionsService: profiles and their options."""

from __future__ import annotations

import pytest
from tests.controller.errors_of import wrong_fields
from tests.controller.running import Site
from tests.controller.user import User

from headrace.v1 import options_service_pb2 as pb


async def test_options_are_listed_with_types_and_defaults(ann: User) -> None:
    answer = await ann.ask_options("ListOptions", pb.ListOptionsRequest())
    options = {option.key: option for option in answer.options}
    assert options["worker_memory"].default_value.int_value == 2 * 2**30
    assert options["worker_memory"].WhichOneof("type") == "bytes_type"
    assert options["worker_threads"].int_type.maximum == 1024
    assert options["worker_cores"].float_type.minimum == 0.01
    assert options["environment"].WhichOneof("type") == "mapping_type"
    assert options["worker_resources"].WhichOneof("type") == "number_mapping_type"
    assert all(option.per_group and option.label and option.description for option in options.values())


async def test_profiles_are_listed_the_default_first_each_with_its_options(site: Site) -> None:
    options = {"worker_memory": {"choices": {"small": "4 GiB", "large": "8 GiB"}, "default": "8 GiB"}}
    replica = await site.replica(
        profiles={"plain": {}, "large": {"label": "Large", "description": "Much of it.", "options": options}}
    )
    carl = await replica.user("carl")
    profiles = (await carl.ask_options("ListProfiles", pb.ListProfilesRequest())).profiles
    assert [(profile.key, profile.label, profile.description) for profile in profiles] == [
        ("plain", "plain", ""),
        ("large", "Large", "Much of it."),
    ]
    [memory] = [
        option
        for option in (await carl.ask_options("ListOptions", pb.ListOptionsRequest(profile="large"))).options
        if option.key == "worker_memory"
    ]
    assert [(choice.label, choice.value.int_value) for choice in memory.select_type.choices] == [
        ("small", 4 * 2**30),
        ("large", 8 * 2**30),
    ]
    assert memory.default_value.int_value == 8 * 2**30


@pytest.mark.parametrize("profile", ["nope", "x" * 10_000])
async def test_an_unknown_profile_is_refused(ann: User, profile: str) -> None:
    wrong = ann.ask_options("ListOptions", pb.ListOptionsRequest(profile=profile))
    assert await wrong_fields(wrong) == {"profile"}
