"""Builds the auth service: the only place that constructs things."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

import grpc
import jwt
from redis.asyncio import Redis

from headrace.errors import StoreUnavailable
from headrace.v1 import auth_service_pb2, auth_service_pb2_grpc
from headrace_auth.api_token_store import ApiTokenStore
from headrace_auth.api_tokens import ApiTokens
from headrace_auth.authenticators.base import Authenticator, ChecksTokens, Parts, build_authenticators
from headrace_auth.config import AuthSettings
from headrace_auth.dashboard_links import DashboardLinks
from headrace_auth.login import DEFAULT_TOKEN_METHOD, Login
from headrace_auth.routes import RouteFollower, RouteTable
from headrace_auth.service import AuthServicer
from headrace_auth.signed import Signer
from headrace_auth.signing_keys import SigningKeys
from headrace_auth.throttle import Throttle
from headrace_chassis.identity.seal import Seal, read_deployment_keys
from headrace_chassis.identity.tokens import TokenVerifier
from headrace_chassis.redis.connection import connect, ping
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.server import App
from headrace_chassis.tls.channels import open_threads_channel

NAME = auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"].full_name


async def build(settings: AuthSettings, stack: AsyncExitStack) -> App:
    """Builds everything from the settings; what must be closed goes onto the stack."""
    redis = connect(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    prefix = Prefix(settings.deployment)
    keys = _signing_keys(settings, redis, prefix)
    with suppress(StoreUnavailable):  # then `keys.run` goes on trying
        await keys.ensure()
    signer = Signer(keys, settings.deployment)
    store = ApiTokenStore(redis, prefix)
    authenticators = build_authenticators(Parts(settings, redis, store, stack))
    routes = RouteTable()
    _follow_routes(settings, routes, stack)
    _serve_authz(settings, signer, routes, authenticators, stack)
    servicer = AuthServicer(
        login=Login(authenticators, Throttle(redis, prefix)),
        signer=signer,
        keys=keys,
        api_tokens=ApiTokens(store, authenticators),
        links=DashboardLinks(signer, routes, settings.link_seconds),
        token_seconds=settings.token_seconds,
        session_seconds=settings.session_seconds,
    )

    def register(server: grpc.aio.Server) -> str:
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(servicer, server)
        return NAME

    async def check() -> None:
        await ping(redis)
        keys.newest()

    async def public_keys() -> Mapping[str, jwt.PyJWK]:
        await keys.refresh()
        keys.newest()
        return {key.key_id: key.public for key in keys.at_hand}

    verifier = TokenVerifier(public_keys, settings.deployment)
    return App(public=[register], check=check, tasks=[keys.run], verifier=verifier)


def _signing_keys(settings: AuthSettings, redis: Redis, prefix: Prefix) -> SigningKeys:
    return SigningKeys(
        redis,
        prefix,
        Seal(read_deployment_keys(settings.deployment_key_file)),
        rotation_seconds=settings.key_rotation_seconds,
        longest_token_seconds=max(settings.token_seconds, settings.link_seconds, settings.session_seconds),
    )


def _follow_routes(settings: AuthSettings, routes: RouteTable, stack: AsyncExitStack) -> None:
    if settings.route_address:
        channel = stack.enter_context(open_threads_channel(settings.route_address, settings))
        follower = RouteFollower(channel, f"auth-{settings.replica}", routes)
        follower.start()
        stack.callback(follower.stop)


def _serve_authz(
    settings: AuthSettings,
    signer: Signer,
    routes: RouteTable,
    authenticators: Mapping[str, Authenticator],
    stack: AsyncExitStack,
) -> None:
    if not settings.authz_listen:
        return
    from headrace_auth.authz.credentials import CredentialReader
    from headrace_auth.authz.decision import Authorizer
    from headrace_auth.authz.server import serving

    api_tokens = authenticators[DEFAULT_TOKEN_METHOD]
    assert isinstance(api_tokens, ChecksTokens)
    credentials = CredentialReader(signer, asyncio.get_running_loop(), api_tokens.check_token, signer.keys.refresh)
    authorizer = Authorizer(signer, routes, settings.session_seconds, credentials)
    stack.enter_context(serving(settings, settings.authz_listen, authorizer))
