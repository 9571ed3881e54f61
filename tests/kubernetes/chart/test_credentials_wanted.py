"""What the chart asks of its credentials job, for each way to have certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from tests.kubernetes.chart.installation import CHART, RELEASE

from headrace_backend_kubernetes.installation.credentials import Installation

MODES = ("internal", "cert-manager", "secret")
SERVICES = {"auth", "controller", "proxy"}


@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("public", MODES)
@pytest.mark.parametrize("services", MODES)
def test_the_job_issues_the_certificates_that_nobody_else_does(
    helm: Callable[..., str], services: str, public: str, *, mesh: bool
) -> None:
    wanted = _wanted(helm, services, public, mesh=mesh)
    internal = SERVICES if services == "internal" and not mesh else set[str]()
    assert set(wanted.certificates) == internal | {"public" if public == "internal" else "inside"}
    for name in internal:
        assert f"{RELEASE}-{name}.dask.svc" in wanted.certificates[name].names


def test_the_public_certificate_is_for_the_service_and_for_what_users_call_it(helm: Callable[..., str]) -> None:
    wanted = _wanted(helm, "internal", "internal", "--set", "publicHostnames={dask.example}", mesh=False)
    names = wanted.certificates["public"].names
    assert {RELEASE, f"{RELEASE}.dask", f"{RELEASE}.dask.svc", "localhost", "dask.example"} <= set(names)
    assert wanted.client is not None
    assert wanted.client.address == f"https://{RELEASE}.dask.svc"


@pytest.mark.parametrize("public", ["cert-manager", "secret"])
def test_pods_of_the_cluster_get_a_certificate_of_the_chart_if_the_public_one_is_not_its_own(
    helm: Callable[..., str], public: str
) -> None:
    wanted = _wanted(helm, "internal", public, "--set", "publicHostnames={dask.example}", mesh=False)
    assert set(wanted.certificates["inside"].names) == {
        *(RELEASE, f"{RELEASE}.dask", f"{RELEASE}.dask.svc", f"{RELEASE}.dask.svc.cluster.local")
    }
    assert wanted.client is not None
    assert wanted.client.ca_secret == f"{RELEASE}-inside-tls"


def test_secrets_that_are_given_are_not_made(helm: Callable[..., str]) -> None:
    given = (
        "--set",
        "existingSecrets.deploymentKey=mine",
        "--set",
        "valkey.enabled=false",
        "--set",
        "redis.url=redis://r:1",
    )
    wanted = _wanted(helm, "internal", "internal", *given, mesh=False)
    assert set(wanted.secrets) == {"admin-token", "metrics-token"}


def _wanted(helm: Callable[..., str], services: str, public: str, *more: str, mesh: bool) -> Installation:
    given = [f"tls.services.secrets.{name}={name}" for name in sorted(SERVICES)]
    values = [
        f"tls.services.mode={services}",
        f"tls.public.mode={public}",
        f"mesh.enabled={str(mesh).lower()}",
        "tls.public.secret=public",
        *given,
    ]
    rendered = helm("template", RELEASE, str(CHART), "-n", "dask", *more, "--set", ",".join(values))
    [job] = [
        each
        for each in _objects(rendered)
        if each["kind"] == "Job" and each["metadata"]["name"].endswith("-credentials")
    ]
    [variable] = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return Installation.model_validate(yaml.safe_load(variable["value"]))


def _objects(rendered: str) -> Iterator[dict[str, Any]]:
    return (each for each in yaml.safe_load_all(rendered) if each)
