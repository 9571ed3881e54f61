"""Rules of the administrator that the API server asks before it takes a pod: users hear their words."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tests.kubernetes.faults.seen import MARKS, failed, runs, startable
from tests.kubernetes.faults.system import OUTSIDE, System
from tests.kubernetes.running import until

from headrace import Gateway

pytestmark = MARKS
_API = "admissionregistration.k8s.io/v1"
_PODS = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
SENTENCE = "pods of the project must name a cost centre"


def test_what_an_admission_policy_refuses_fails_with_its_sentence(headrace: System, gateway: Gateway) -> None:
    rule = {"expression": "has(object.metadata.labels) && has(object.metadata.labels.costCentre)", "message": SENTENCE}
    policy = {
        "apiVersion": _API,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": headrace.name},
        "spec": {"matchConstraints": {"resourceRules": [_PODS]}, "validations": [rule]},
    }
    binding = {
        "apiVersion": _API,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": headrace.name},
        "spec": {
            "policyName": headrace.name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": _namespace(headrace)},
        },
    }
    with _in_force(headrace, SENTENCE, policy, binding):
        failure = failed(gateway, "judged")
        assert failure.reason == "REFUSED"
        assert SENTENCE in str(failure)
        assert "Choose other options, or ask an administrator." in str(failure)


def test_a_webhook_that_is_away_is_waited_for_and_named(headrace: System, gateway: Gateway) -> None:
    webhook = {
        "name": "costs.example.org",
        "clientConfig": {"url": f"https://{OUTSIDE}:1/"},  # nobody listens there
        "rules": [_PODS],
        "namespaceSelector": _namespace(headrace),
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    configuration = {
        "apiVersion": _API,
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": headrace.name},
        "webhooks": [webhook],
    }
    said = 'failed calling webhook "costs.example.org"'
    with _in_force(headrace, said, configuration):
        name = gateway.submit(profile="judged")
        until(lambda: said in startable(gateway, name), "the wait is told")
    until(lambda: runs(gateway, name), "it runs once the webhook is gone")


def _namespace(headrace: System) -> dict[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": headrace.namespace("judged")}}


@contextmanager
def _in_force(headrace: System, said: str, *objects: dict[str, Any]) -> Generator[None]:
    """The objects are there meanwhile, and the API server has heard of it."""
    judged = headrace.namespace("judged")
    headrace.kubernetes.apply(*objects)
    try:
        until(lambda: said in headrace.kubernetes.refusal(judged), "it is in force")
        yield
    finally:
        for each in objects:
            headrace.kubernetes.kubectl("delete", each["kind"], each["metadata"]["name"])
        until(lambda: not headrace.kubernetes.refusal(judged), "it is out of force")
