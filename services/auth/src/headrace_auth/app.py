"""Builds the auth service: the only place that constructs things."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

import jwt
from redis.asyncio import Redis

from headrace.errors import StoreUnavailable
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.api_token_secrets import ApiTokenSecrets
from headrace_auth.api_token_store import ApiTokenStore
from headrace_auth.api_tokens import ApiTokens
from headrace_auth.authenticators.registry import create_realms
from headrace_auth.authz.credentials import Credentials
from headrace_auth.authz.dashboard_links import DashboardLinks
from headrace_auth.authz.dashboard_origins import DashboardOrigins
from headrace_auth.authz.decision import Authorizer
from headrace_auth.authz.link_codes import LinkCodes
from headrace_auth.authz.link_users import LinkUsers
from headrace_auth.authz.route_table import RouteTable
from headrace_auth.authz.service import AuthorizationServicer
from headrace_auth.bootstrap_token import BootstrapToken
from headrace_auth.config import AuthSettings
from headrace_auth.ended_sessions import EndedSessions
from headrace_auth.login import Login
from headrace_auth.login_queue import LoginQueue
from headrace_auth.policy_roles import PolicyRoles
from headrace_auth.refused_tokens import RefusedTokens
from headrace_auth.service import AuthServicer
from headrace_auth.signer import Signer
from headrace_auth.signing_keys import SigningKeys
from headrace_auth.throttle import Throttle
from headrace_chassis.audit.log import AuditLog
from headrace_chassis.identity.dashboard_keys import DashboardKeys
from headrace_chassis.identity.seal import Seal, derive, read_deployment_keys
from headrace_chassis.identity.tokens import KeySource, TokenVerifier
from headrace_chassis.redis.connection import connect, ping
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.route_watch import RouteWatch
from headrace_chassis.server import App, Task
from headrace_chassis.tls.channels import open_channel
from headrace_chassis.traces import spans_of_calls


async def build(settings: AuthSettings, stack: AsyncExitStack) -> App:
    """Build everything from the settings. What must be closed goes onto the stack."""
    redis = connect(settings.redis_url, settings.redis_password_file)
    stack.push_async_callback(redis.aclose)
    prefix = Prefix(settings.deployment)
    keys = _signing_keys(settings, redis, prefix)
    with suppress(StoreUnavailable):  # `keys.run` retries
        await keys.ensure()
    signer = Signer(keys, settings.deployment)

    bootstrap = BootstrapToken.read(settings.bootstrap_token_file) if settings.bootstrap_token_file else None
    policy_roles = PolicyRoles(settings.policy_file)
    realms = create_realms(settings.authenticators, bootstrap, stack, policy_roles)
    ended = EndedSessions(redis, prefix, longest_seconds=settings.link_seconds + settings.session_seconds)
    api_tokens = ApiTokens(ApiTokenStore(redis, prefix), _secrets(settings), realms, ended)

    codes = LinkCodes(redis, prefix, settings.link_seconds)
    routes, link_users = RouteTable(settings.destinations, policy_roles), LinkUsers(realms)
    authorizer = Authorizer(
        signer=signer,
        routes=routes,
        credentials=Credentials(signer, api_tokens, codes, ended),
        link_users=link_users,
        keys=DashboardKeys(read_deployment_keys(settings.deployment_key_file), settings.deployment),
        origins=DashboardOrigins(settings.dashboard_domain),
        session_seconds=settings.session_seconds,
    )
    servicer = AuthServicer(
        login=Login(realms, api_tokens, Throttle(redis, prefix), LoginQueue(), RefusedTokens()),
        signer=signer,
        keys=keys,
        api_tokens=api_tokens,
        links=DashboardLinks(signer, routes, link_users, codes),
        trusted_proxies=settings.trusted_proxies,
        features=[pb.FEATURE_API_TOKENS, *[pb.FEATURE_DASHBOARD_LINKS] * bool(settings.route_address)],
        token_seconds=settings.token_seconds,
        session_seconds=settings.session_seconds,
    )

    audit = AuditLog(settings.audit, "auth", redis, prefix)

    async def check() -> None:
        await ping(redis)
        keys.newest()

    return App(
        public=[servicer.register],
        internal=[AuthorizationServicer(authorizer, audit).register],
        check=check,
        tasks=[keys.run, ended.run, policy_roles.run, *await _route_tasks(settings, routes, stack)],
        audit=audit,
        verifier=TokenVerifier(_own_keys(keys), settings.deployment),
    )


def _signing_keys(settings: AuthSettings, redis: Redis, prefix: Prefix) -> SigningKeys:
    return SigningKeys(
        redis,
        prefix,
        Seal(read_deployment_keys(settings.deployment_key_file)),
        rotation_seconds=settings.key_rotation_seconds,
        longest_token_seconds=max(settings.token_seconds, settings.link_seconds, settings.session_seconds),
    )


def _secrets(settings: AuthSettings) -> ApiTokenSecrets:
    keys = read_deployment_keys(settings.deployment_key_file)
    return ApiTokenSecrets(Seal([derive(key, f"api-token/{settings.deployment}") for key in keys]))


async def _route_tasks(settings: AuthSettings, routes: RouteTable, stack: AsyncExitStack) -> list[Task]:
    if not settings.route_address:
        return []
    channel = await stack.enter_async_context(open_channel(settings.route_address, settings, spans_of_calls(settings)))
    return [RouteWatch(channel, f"auth-{settings.replica}", routes.apply).run]


def _own_keys(keys: SigningKeys) -> KeySource:
    async def read() -> Mapping[str, jwt.PyJWK]:
        await keys.refresh()
        keys.newest()
        return {key.key_id: key.public for key in keys.valid}

    return read
