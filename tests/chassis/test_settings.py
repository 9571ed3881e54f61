"""Settings: where they come from, and how a wrong one is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_settings import SettingsConfigDict
from typer.testing import CliRunner

from headrace_chassis.command import service_command
from headrace_chassis.server import App
from headrace_chassis.settings import ServiceSettings


class Limits(BaseModel):
    clusters: int = 1
    workers: int = 2


class ExampleSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_EXAMPLE_")

    limits: Limits = Limits()


async def build(*_: object) -> App:
    raise AssertionError("nothing is started here")


command = service_command("example", ExampleSettings, build)
MINIMUM = {"HEADRACE_EXAMPLE_LISTEN": "unix:/run/x.sock", "HEADRACE_EXAMPLE_DEPLOYMENT_KEY_FILE": "/keys"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in MINIMUM.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_environment_wins_over_file_over_default(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("drain_seconds: 7\nlog_level: debug\nlimits: {clusters: 5, workers: 6}\n")
    environment.setenv("HEADRACE_EXAMPLE_LOG_LEVEL", "error")
    environment.setenv("HEADRACE_EXAMPLE_LIMITS__WORKERS", "60")
    settings = ExampleSettings.load(file)
    assert (settings.deployment, settings.drain_seconds, settings.log_level) == ("headrace", 7, "error")
    assert settings.limits == Limits(clusters=5, workers=60)


def test_redis_has_one_password(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("HEADRACE_EXAMPLE_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    environment.setenv("HEADRACE_EXAMPLE_REDIS_URL", "redis://user@host:6379/0")
    assert ExampleSettings.load().redis_password_file == tmp_path / "password"
    environment.setenv("HEADRACE_EXAMPLE_REDIS_URL", "redis://:secret@host:6379/0")
    with pytest.raises(ValueError, match="redis_url has a password") as refused:
        ExampleSettings.load()
    assert "secret" not in str(refused.value)


def test_replicas_have_names_of_their_own(environment: pytest.MonkeyPatch) -> None:
    assert ExampleSettings.load().replica


@pytest.mark.parametrize(
    ("variable", "value", "explained"),
    [
        ("LISTEN", "nonsense", "neither unix:/path nor host:port"),
        ("LISTEN", "unix:relative.sock", "must be absolute"),
        ("LISTEN", "unix:/" + "x" * 120, "shorter than 100 bytes"),
        ("LISTEN", "127.0.0.1:99999", "neither unix:/path nor host:port"),
        ("INTERNAL_LISTEN", "0.0.0.0:9000", "set tls_certificate_file, tls_key_file and tls_ca_file (mutual TLS)"),
        ("TLS_KEY_FILE", "/key.pem", "belong together"),
        ("METRICS_LISTEN", "unix:/m.sock", "Prometheus reads no unix sockets"),
        ("HEALTH_LISTEN", "unix:/h.sock", "a kubelet reaches no unix sockets"),
        ("INTERNAL_LISTEN", "0.0.0.0:9000", "or set trust_network if a service mesh protects the port"),
        ("DRAIN_SECONDS", "-1", "greater than or equal to 0"),
        ("REDIS_URL", "http://x", "pattern"),
        ("DEPLOYMENT", "Not OK", "HEADRACE_EXAMPLE_DEPLOYMENT"),
        ("LIMITS__WORKERS", "many", "HEADRACE_EXAMPLE_LIMITS__WORKERS"),
    ],
)
def test_a_wrong_setting_is_named_and_explained(
    environment: pytest.MonkeyPatch, variable: str, value: str, explained: str
) -> None:
    environment.setenv(f"HEADRACE_EXAMPLE_{variable}", value)
    result = CliRunner().invoke(command, ["check-config"])
    assert result.exit_code == 2
    assert explained in result.output


@pytest.mark.parametrize("address", ["127.0.0.1:9000", "localhost:9000", "[::1]:9000", "unix:/run/i.sock"])
def test_on_this_machine_the_internal_listener_needs_no_tls(environment: pytest.MonkeyPatch, address: str) -> None:
    environment.setenv("HEADRACE_EXAMPLE_INTERNAL_LISTEN", address)
    assert ExampleSettings.load().internal_listen == address


def test_in_a_mesh_the_internal_listener_needs_no_tls(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HEADRACE_EXAMPLE_INTERNAL_LISTEN", "0.0.0.0:9000")
    environment.setenv("HEADRACE_EXAMPLE_TRUST_NETWORK", "true")
    assert ExampleSettings.load().internal_listen == "0.0.0.0:9000"


@pytest.mark.parametrize(
    ("content", "explained"),
    [("a: [", "cannot be read"), ("- a\n", "mapping"), ("no_such_setting: 1\n", "no_such_setting")],
)
def test_a_wrong_file_is_explained(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: str, explained: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    result = CliRunner().invoke(command, ["check-config", "--config", str(file)])
    assert result.exit_code == 2
    assert explained in result.output


def test_check_config_prints_what_holds(environment: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(command, ["check-config"])
    assert result.exit_code == 0
    assert '"listen": "unix:/run/x.sock"' in result.output


def test_a_missing_key_file_is_explained_in_a_sentence(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HEADRACE_EXAMPLE_LISTEN", "nonsense")
    result = CliRunner().invoke(command, ["serve"])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
