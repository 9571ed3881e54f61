"""OptionsService: profiles and options that an administrator offers to users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.v1 import options_service_pb2 as pb
from headrace.v1.options_service_pb2_grpc import OptionsServiceServicer, add_OptionsServiceServicer_to_server
from headrace_chassis.identity.caller import current_caller
from headrace_controller.api import convert
from headrace_controller.api.requests import choose_profile, person
from headrace_controller.options.catalogue import Options
from headrace_controller.profiles import Profiles

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class OptionsService(OptionsServiceServicer):
    """Lists the profiles that the caller may choose, and their options."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    @override
    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Context) -> pb.ListProfilesResponse:
        profiles = [
            pb.Profile(key=profile.key, label=profile.label, description=profile.description)
            for profile in self._profiles.of(person(current_caller()))
        ]
        return pb.ListProfilesResponse(profiles=profiles)

    @override
    async def ListOptions(self, request: pb.ListOptionsRequest, context: Context) -> pb.ListOptionsResponse:
        caller = current_caller()
        profile = choose_profile(self._profiles, request.profile, person(caller), caller, "profile")
        return await profile.use(person(caller), _response)

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_OptionsServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["OptionsService"].full_name


def _response(options: Options) -> pb.ListOptionsResponse:
    return pb.ListOptionsResponse(options=[convert.option(option) for option in options])
