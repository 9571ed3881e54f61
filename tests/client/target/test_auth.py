from __future__ import annotations

from pathlib import Path

import dask.config
import pytest

from headrace import BasicAuth, GatewayAuth, JupyterHubAuth, TokenAuth, get_auth
from headrace.errors import InvalidRequest, Unauthenticated
from headrace.v1.auth_service_pb2 import LoginRequest, TokenCredential


class OwnAuth(GatewayAuth):
    def login_request(self) -> LoginRequest:
        return LoginRequest()


def test_basic_is_the_default_with_the_login_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    password = get_auth().login_request().password
    assert (password.username, password.password) == ("ann", "")


def test_classes_get_their_arguments_from_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "ann")
    settings = {"headrace.auth.type": "basic", "headrace.auth.kwargs": {"username": "{WHO}", "password": "p"}}
    with dask.config.set(settings):
        password = get_auth().login_request().password
    assert (password.username, password.password) == ("ann", "p")


def test_arguments_that_do_not_fit_are_told() -> None:
    with dask.config.set({"headrace.auth.kwargs": {"user": "x"}}), pytest.raises(InvalidRequest, match="BasicAuth"):
        get_auth("basic")


@pytest.mark.parametrize("name", ["kerbros", "os.path", "os.path.join", "no.such.module"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="neither one of basic, token, jupyterhub"):
        get_auth(name)


def test_objects_classes_and_full_names_will_do() -> None:
    auth = BasicAuth("a", "b")
    assert get_auth(auth) is auth
    assert isinstance(get_auth(OwnAuth), OwnAuth)
    assert isinstance(get_auth(f"{__name__}.OwnAuth"), GatewayAuth)


def test_a_token_comes_from_an_argument_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unauthenticated, match="headrace login"):
        TokenAuth()
    monkeypatch.setenv("HEADRACE_TOKEN", "from-environment")
    assert TokenAuth().login_request().token.token == "from-environment"
    file = tmp_path / "token"
    auth = TokenAuth(token_file=str(file))
    with pytest.raises(Unauthenticated, match="cannot be read"):
        auth.login_request()
    file.write_text("rotated\n")
    assert auth.login_request().token.token == "rotated"
    assert "rotated" not in repr(auth)


def test_a_token_in_the_environment_is_meant_also_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "kubernetes.io" / "serviceaccount"
    account.mkdir(parents=True)
    (account / "token").write_text("of the pod")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("HEADRACE_SECRETS_DIR", str(tmp_path))
    assert get_auth().login_request().token.token == "of the pod"
    monkeypatch.setenv("HEADRACE_TOKEN", "of the admin")
    assert get_auth().login_request() == LoginRequest(token=TokenCredential(token="of the admin"))
    monkeypatch.setenv("HEADRACE_TOKEN", "")
    assert get_auth().login_request().token.token == "of the pod"


def test_the_token_of_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    with pytest.raises(Unauthenticated, match="JUPYTERHUB_API_TOKEN"):
        JupyterHubAuth()
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "hub")
    request = get_auth("jupyterhub").login_request()
    assert (request.method, request.token.token) == ("jupyterhub", "hub")


def test_a_way_to_log_in_may_be_named() -> None:
    assert BasicAuth("ann", "secret", method="ldap").login_request().method == "ldap"
    assert TokenAuth("t", method="oidc").login_request().method == "oidc"


@pytest.mark.parametrize("module", ["dask_gateway", "dask_gateway.auth", "headrace", "headrace.auth"])
def test_classes_of_dask_gateway_are_ours(module: str) -> None:
    with dask.config.set({"headrace.auth.type": f"{module}.BasicAuth"}):
        assert type(get_auth()) is BasicAuth
    with dask.config.set({"headrace.auth.kwargs": {"api_token": "x"}}):
        assert type(get_auth(f"{module}.JupyterHubAuth")) is JupyterHubAuth
