"""What the credentials job makes, renews, and never touches again."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.backends.kubernetes.installation.memory_objects import MemoryObjects

from headrace_auth.bootstrap_token import BootstrapToken
from headrace_backend_kubernetes.installation.credentials import (
    Certificate,
    ClientConfig,
    Installation,
    ensure_credentials,
)
from headrace_chassis.identity.seal import read_deployment_keys
from headrace_chassis.tls.certificate_files import CertificateFiles

AUTH = Certificate(names=("r-auth", "r-auth.ns.svc"))
PUBLIC = Certificate(names=("r", "hub.example"))
WANTED = Installation(
    release="r",
    namespace="ns",
    secrets=("deployment-key", "admin-token", "metrics-token", "redis"),
    certificates={"auth": AUTH, "public": PUBLIC},
    certificate_days=90,
    client=ClientConfig(config_map="headrace-client", address="https://r.ns.svc", ca_secret="r-public-tls"),
)


@pytest.fixture
async def made() -> MemoryObjects:
    objects = MemoryObjects()
    await ensure_credentials(WANTED, objects)
    return objects


async def test_services_can_use_what_is_made(made: MemoryObjects, tmp_path: Path) -> None:
    for name, data in made.secrets.items():
        for key, value in data.items():
            (tmp_path / f"{name}-{key}").write_bytes(value)
    assert len(read_deployment_keys(tmp_path / "r-deployment-key-deployment.key")) == 1
    token = BootstrapToken.read(tmp_path / "r-admin-token-token.json")
    assert token.matches((tmp_path / "r-admin-token-token").read_text())
    assert "admin" in token.roles
    certificate, key, ca = (tmp_path / f"r-auth-tls-{name}" for name in ("tls.crt", "tls.key", "ca.crt"))
    CertificateFiles(certificate, key, ca, "a listener").credentials()
    password = made.secrets["r-redis"]["password"].decode()
    assert made.secrets["r-redis"]["valkey.conf"].decode() == f"requirepass {password}\n"


async def test_a_second_run_changes_nothing(made: MemoryObjects) -> None:
    before = json.dumps({name: list(map(repr, data.items())) for name, data in made.secrets.items()})
    assert await ensure_credentials(WANTED, made) == []
    assert json.dumps({name: list(map(repr, data.items())) for name, data in made.secrets.items()}) == before


async def test_a_certificate_near_its_end_is_renewed(made: MemoryObjects) -> None:
    before = {name: dict(data) for name, data in made.secrets.items()}
    done = await ensure_credentials(WANTED, made, datetime.now(UTC) + timedelta(days=61))
    assert made.secrets["r-auth-tls"]["tls.crt"] != before["r-auth-tls"]["tls.crt"]
    assert made.secrets["r-public-tls"]["tls.crt"] != before["r-public-tls"]["tls.crt"]
    assert "Secret r-auth-tls was renewed" in done
    for name in ("r-deployment-key", "r-admin-token", "r-metrics-token", "r-redis", "r-authority"):
        assert made.secrets[name] == before[name]


async def test_a_new_host_name_makes_a_new_certificate(made: MemoryObjects) -> None:
    more = Certificate(names=(*PUBLIC.names, "dask.example"))
    wanted = WANTED.model_copy(update={"certificates": {"auth": AUTH, "public": more}})
    assert await ensure_credentials(wanted, made) == ["Secret r-public-tls was renewed"]


async def test_the_successor_of_the_authority_is_published_before_it_signs(made: MemoryObjects) -> None:
    before = made.secrets["r-authority"]["ca.crt"]
    await ensure_credentials(WANTED, made, datetime.now(UTC) + timedelta(days=3000))
    both = made.secrets["r-authority"]["ca.crt"]
    assert both.startswith(before)
    assert both != before
    assert made.secrets["r-auth-tls"]["ca.crt"] == both
    assert made.config_maps["headrace-client"]["ca.crt"] == both.decode()


async def test_clients_are_told_address_and_authority(made: MemoryObjects) -> None:
    published = made.config_maps["headrace-client"]
    assert published["address"] == "https://r.ns.svc"
    assert published["ca.crt"].encode() == made.secrets["r-public-tls"]["ca.crt"]
    assert yaml.safe_load(published["headrace.yaml"]) == {
        "headrace": {"address": "https://r.ns.svc", "tls": {"ca-file": "/etc/dask/ca.crt"}}
    }


async def test_clients_of_a_public_authority_get_none() -> None:
    objects = MemoryObjects({"given": {"tls.crt": b"", "tls.key": b""}})
    client = ClientConfig(config_map="c", address="https://dask.example", ca_secret="given", settings={"connect": "x"})
    await ensure_credentials(Installation(release="r", namespace="ns", client=client), objects)
    assert objects.config_maps["c"].keys() == {"address", "headrace.yaml"}
    assert yaml.safe_load(objects.config_maps["c"]["headrace.yaml"])["headrace"]["connect"] == "x"


async def test_clients_forget_the_authority_of_an_earlier_address(made: MemoryObjects) -> None:
    made.secrets["given"] = {"tls.crt": b"", "tls.key": b""}
    client = ClientConfig(config_map="headrace-client", address="https://dask.example", ca_secret="given")
    await ensure_credentials(WANTED.model_copy(update={"client": client}), made)
    assert made.config_maps["headrace-client"].keys() == {"address", "headrace.yaml"}


async def test_a_lost_authority_is_replaced_with_all_that_it_certified(made: MemoryObjects) -> None:
    del made.secrets["r-authority"]
    key = made.secrets["r-deployment-key"]
    done = await ensure_credentials(WANTED, made)
    assert "Secret r-authority was made" in done
    assert "Secret r-auth-tls was renewed" in done
    assert made.secrets["r-deployment-key"] == key
    assert base64.urlsafe_b64decode(key["deployment.key"].strip())
