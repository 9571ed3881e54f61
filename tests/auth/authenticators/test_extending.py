"""The authenticator of docs/extending.md, installed as a distribution would be, in the real service."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.auth.api_tokens import create
from tests.auth.running import bearer, failure, running_auth
from typing_extensions import override

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.authenticators.registry import GROUP, read_settings
from headrace_auth.config import AuthSettings

DOCUMENT = Path(__file__).parents[3] / "docs" / "extending.md"
MODULE = "headrace_auth_jupyterhub"
SERVICE_TOKEN = "service"


class Hub(ThreadingHTTPServer):
    """The two calls of JupyterHub's API that the example makes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.users = {"ann": {"name": "ann", "groups": ["astro"], "admin": False}}
        self.tokens = {"t-ann": "ann"}
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hub/api/"


class HubHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Hub)
        token = self.headers["Authorization"].removeprefix("token ")
        if self.server.broken:
            self.answer(503, {})
        elif self.path == "/hub/api/user":
            user = self.server.users.get(self.server.tokens.get(token, ""))
            self.answer(200 if user else 403, user or {})
        else:
            user = self.server.users.get(self.path.removeprefix("/hub/api/users/"))
            self.answer(401 if token != SERVICE_TOKEN else 200 if user else 404, user or {})

    def answer(self, code: int, content: object) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def with_hub(
    settings: AuthSettings, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AuthSettings]:
    """Settings with the example, which is installed beside them."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Write an authenticator\n")[2].partition("\n## ")[0]
    [entry_point] = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    [code] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert f'[project.entry-points."{GROUP}"]' in entry_point
    (tmp_path / f"{MODULE}.py").write_text(code)
    metadata = tmp_path / f"{MODULE}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\njupyterhub = {MODULE}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    raw = {"jupyterhub": {"hub_url": hub.url, "service_token": SERVICE_TOKEN}}
    yield settings.model_copy(update={"authenticators": {**settings.authenticators, **read_settings(raw)}})
    sys.modules.pop(MODULE, None)


async def test_its_tokens_log_in_and_its_list_of_users_is_followed(with_hub: AuthSettings, hub: Hub) -> None:
    async with running_auth(with_hub) as auth:
        answer = await auth.login_with("t-ann")
        assert answer.user == pb.User(
            name="users/jupyterhub:ann",
            groups=["groups/jupyterhub:astro"],
            roles=[pb.ROLE_USER],
            method="jupyterhub",
        )
        secret = (await create(auth, bearer(answer.access_token))).secret
        hub.users["ann"]["groups"] = ["bio"]
        assert list((await auth.login_with(secret)).user.groups) == ["groups/jupyterhub:bio"]
        hub.broken = True
        assert isinstance(await failure(auth.login_with(secret)), errors.StoreUnavailable)
        hub.broken = False
        del hub.users["ann"]
        assert isinstance(await failure(auth.login_with(secret)), errors.TokenRevoked)


@pytest.mark.parametrize("token", ["t-eve", "é", "a\nb", "hr_unknown"])
async def test_other_tokens_are_nobodys(with_hub: AuthSettings, token: str) -> None:
    async with running_auth(with_hub) as auth:
        assert isinstance(await failure(auth.login_with(token)), errors.BadCredentials)


async def test_it_is_one_of_the_ways_to_log_in(with_hub: AuthSettings) -> None:
    async with running_auth(with_hub) as auth:
        info = await auth.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert info.login_methods[-1] == pb.LoginMethod(
        method="jupyterhub", label="JupyterHub", credential_kind=pb.CREDENTIAL_KIND_TOKEN
    )


def test_a_secret_of_its_settings_is_not_printed(with_hub: AuthSettings) -> None:
    assert SERVICE_TOKEN not in json.dumps(
        with_hub.model_dump(mode="json")["authenticators"]["jupyterhub"]["service_token"]
    )


def test_a_missing_setting_is_named(with_hub: AuthSettings) -> None:
    with pytest.raises(ValueError, match=r"jupyterhub\.service_token: Field required"):
        read_settings({"jupyterhub": {"hub_url": "https://hub"}})
