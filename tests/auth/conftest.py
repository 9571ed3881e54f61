"""A deployment with three users, a bootstrap token and a fake controller."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from redis.asyncio import Redis
from tests.auth.running import Metadata, RunningAuth, running_auth
from tests.fake_routes import FakeRoutes

from headrace_auth.authenticators import password_file
from headrace_auth.authenticators.users_file import UserRecord, read_users, write_users
from headrace_auth.authz import route_table
from headrace_auth.config import AuthSettings
from headrace_chassis.identity.seal import new_deployment_key

BOOTSTRAP_SECRET = "hr_bootstrap"


# A real hash that costs nothing to verify.
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@cache
def hashed(password: str) -> str:
    return HASHER.hash(password)


def change_user(settings: AuthSettings, name: str, *, gone: bool = False, **changes: object) -> None:
    """Changes or removes a user in the users file of a running service."""
    file = users_file_of(settings)
    users = read_users(file)
    user = users.pop(name)
    write_users(file, users if gone else {**users, name: replace(user, **changes)})


def users_file_of(settings: AuthSettings) -> Path:
    password = settings.authenticators["password"]
    assert isinstance(password, password_file.Settings)
    return password.users_file


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """News of routes are waited for in the tests of that only."""
    monkeypatch.setattr(route_table, "HEAR_SECONDS", 0.01)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        yield Path(name)


@pytest.fixture
def users_file(directory: Path) -> Path:
    users = [
        UserRecord("ann", hashed("ann's"), ("astro",)),
        UserRecord("bob", hashed("bob's")),
        UserRecord("root", hashed("root's"), (), ("admin",)),
    ]
    write_users(directory / "users", {user.name: user for user in users})
    return directory / "users"


@pytest.fixture
def settings(directory: Path, users_file: Path, redis: Redis, redis_url: str) -> AuthSettings:
    (directory / "keys").write_text(new_deployment_key())
    bootstrap = {"user": "operator", "roles": ["admin"], "secret": BOOTSTRAP_SECRET}
    (directory / "bootstrap.json").write_text(json.dumps(bootstrap))
    return AuthSettings(
        listen=f"unix:{directory}/auth.sock",
        internal_listen=f"unix:{directory}/internal.sock",
        route_address=f"unix:{directory}/routes.sock",
        redis_url=redis_url,
        deployment_key_file=directory / "keys",
        authenticators={"password": {"users_file": users_file, "prefix": ""}},  # type: ignore[dict-item]
        bootstrap_token_file=directory / "bootstrap.json",
    )


@pytest.fixture
async def routes(settings: AuthSettings) -> AsyncIterator[FakeRoutes]:
    """The fake controller, running."""
    fake = FakeRoutes(settings.route_address)
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def auth(settings: AuthSettings) -> AsyncIterator[RunningAuth]:
    """The service, without a controller unless `routes` is asked for too."""
    async with running_auth(settings) as running:
        yield running


@pytest.fixture
async def ann(auth: RunningAuth) -> Metadata:
    return await auth.login("ann", "ann's")


@pytest.fixture
async def bob(auth: RunningAuth) -> Metadata:
    return await auth.login("bob", "bob's")


@pytest.fixture
async def root(auth: RunningAuth) -> Metadata:
    return await auth.login("root", "root's")
