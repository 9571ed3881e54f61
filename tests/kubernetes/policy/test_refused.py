"""A policy whose pods the API server would refuse is not put in force; what it says comes back with line and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kubernetes.policy.conftest import Site
from tests.kubernetes.running import Kubernetes

from headrace_backend_kubernetes.plugin import ProfileSettings
from headrace_controller.backends.base import UnfitProfiles
from headrace_controller.policy.current import CurrentPolicy
from headrace_controller.policy.file import PolicyFile, UnfitPolicy
from headrace_controller.profiles import Profiles, build_profiles

GOOD = "profiles: {p: {}}\n"
BROKEN = """\
profiles:
  p:
    settings:
      priority_class: no-such-class
      worker:
        tolerations:
          - {effct: NoSchedule}
      groups:
        gpu:
          extra_pod_config:
            securityContext: {runAsPlayer: 1}
  lab:
    settings:
      namespace: no-such-namespace
"""
REFUSAL = """\
line 4: profiles.p.settings.priority_class: no PriorityClass with name no-such-class was found (the pod's \
spec.priorityClassName)
line 6: profiles.p.settings.worker.tolerations: there is no such field (the pod's spec.tolerations[0].effct)
line 11: profiles.p.settings.groups.gpu.extra_pod_config.securityContext.runAsPlayer: there is no such field (the \
pod's spec.securityContext.runAsPlayer)
line 14: profiles.lab.settings.namespace: namespaces "no-such-namespace" not found; create the namespace \
no-such-namespace and give the controller its Role there"""


def follow(site: Site, file: Path) -> CurrentPolicy[Profiles]:
    """Follows a policy file as the controller does."""

    def fit(policy: PolicyFile) -> Profiles:
        return build_profiles(policy, {"kubernetes": ()}, {"kubernetes": ProfileSettings})

    async def verify(profiles: Profiles) -> None:
        try:
            await site.backend.check_profiles(settings(profiles))
        except UnfitProfiles as error:
            faults = [(("profiles", key, "settings", *path), reason) for (key, *path), reason in error.faults]
            raise UnfitPolicy(faults) from None

    return CurrentPolicy(file, PolicyFile(), fit, verify)


def settings(profiles: Profiles) -> Mapping[str, Any]:
    return profiles.backend_settings()["kubernetes"]


async def test_what_the_api_server_refuses_has_its_line_and_the_old_policy_stays(
    site: Site, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD)
    current = follow(site, file)
    file.write_text(BROKEN)
    await current.refresh()
    assert list(current.policy.profiles["p"].settings) == []
    assert current.refused is not None
    assert current.refused.reason == REFUSAL
    assert kubernetes.get("pods", "-n", site.namespace)["items"] == []


async def test_a_full_quota_does_not_refuse_a_policy(site: Site, kubernetes: Kubernetes, tmp_path: Path) -> None:
    metadata = {"name": "none", "namespace": site.namespace}
    kubernetes.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": "0"}}}
    )
    try:
        file = tmp_path / "policy.yaml"
        file.write_text(GOOD)
        current = follow(site, file)
        file.write_text("profiles: {p: {settings: {termination_grace_period_seconds: 9}}}")
        await current.refresh()
        assert current.refused is None
        assert settings(current.fitted)["p"].termination_grace_period_seconds == 9
    finally:
        kubernetes.kubectl("delete", "resourcequota", "none", "-n", site.namespace)
