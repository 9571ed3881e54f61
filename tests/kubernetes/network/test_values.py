"""Wrong values are refused with the name of the value, and with what to write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kubernetes.running import CommandFailed

Helm = Callable[..., str]
CHART = Path(__file__).parents[3] / "deploy" / "helm" / "headrace"
INGRESS = {"enabled": True, "host": "headrace.example.org"}
PARENT = [{"name": "edge"}]


def _refusal(helm: Helm, tmp_path: Path, values: Mapping[str, Any]) -> str:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(CommandFailed) as raised:
        helm("template", "headrace", str(CHART), "-f", str(file))
    return str(raised.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"networkPolicies": {}}, "'networkPolicies' not allowed"),
        ({"networkPolicy": {"dask": {"intranet": True}}}, "at '/networkPolicy/dask': additional properties 'intranet'"),
        ({"networkPolicy": {"dnsPorts": ["53"]}}, "at '/networkPolicy/dnsPorts/0': got string, want integer"),
        (
            {"networkPolicy": {"prometheus": ["monitoring"]}},
            "at '/networkPolicy/prometheus/0': got string, want object",
        ),
        ({"monitoring": {"rules": {"enabled": "yes"}}}, "at '/monitoring/rules/enabled': got string, want boolean"),
        ({"auth": {"replicas": "two"}}, "at '/auth/replicas': got string, want integer"),
        ({"images": {"dask": {"repository": "x"}}}, "at '/images/dask': additional properties 'repository'"),
        ({"ingress": {"daskTraffic": "vpn"}}, "at '/ingress/daskTraffic': value must be one of"),
        ({"mesh": {"policies": "linkerd"}}, "at '/mesh/policies': value must be one of"),
        ({"deployment": "Prod_1"}, "at '/deployment': 'Prod_1' does not match pattern"),
        ({"basePath": "headrace/"}, "at '/basePath': 'headrace/' does not match pattern"),
    ],
)
def test_a_value_that_is_none_is_named(helm: Helm, tmp_path: Path, values: Mapping[str, Any], said: str) -> None:
    assert said in _refusal(helm, tmp_path, values)


def test_a_policy_that_is_a_text_keeps_its_order_and_its_namespaces(helm: Helm, tmp_path: Path) -> None:
    """Helm sorts the keys of values, and the first profile is the default."""
    policy = tmp_path / "policy.yaml"
    text = "profiles:\n  standard: {label: Standard}  # the default\n  gpu: {label: GPU, settings: {namespace: gpus}}\n"
    policy.write_text(text)
    made = [
        each
        for each in yaml.safe_load_all(helm("template", "headrace", str(CHART), "--set-file", f"policyText={policy}"))
        if each
    ]
    [kept] = [each["data"]["policy.yaml"] for each in made if each["metadata"]["name"] == "headrace-policy"]
    assert kept == text
    roles = {each["metadata"].get("namespace") for each in made if each["kind"] == "Role"}
    assert "gpus" in roles


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"policyText": "profiles: [:"}, "policyText: "),
        ({"ingress": INGRESS}, "ingress.enabled needs basePath, such as /headrace"),
        ({"ingress": {"enabled": True}, "basePath": "/headrace"}, "ingress.enabled needs ingress.host"),
        ({"ingress": INGRESS, "basePath": "/headrace"}, "whose TLS must pass unopened (SNI passthrough)"),
        (
            {"ingress": INGRESS | {"daskTraffic": "tls-route"}, "basePath": "/headrace"},
            "ingress.daskTraffic: tls-route needs gatewayApi.enabled",
        ),
        ({"gatewayApi": {"enabled": True}}, "gatewayApi.enabled needs gatewayApi.parentRefs"),
        ({"gatewayApi": {"enabled": True, "parentRefs": PARENT}}, "gatewayApi.enabled needs publicHostnames"),
        ({"gatewayApi": {"http": {"enabled": True, "parentRefs": PARENT}}}, "http.enabled needs gatewayApi.enabled"),
        (
            {
                "gatewayApi": {"enabled": True, "parentRefs": PARENT, "http": {"enabled": True, "parentRefs": PARENT}},
                "client": {"address": "https://headrace.example.org"},
                "tls": {"public": {"mode": "secret", "secret": "public"}},
            },
            "the Gateway needs that of the Service's name, which is in the Secret headrace-inside-tls",
        ),
        ({"controller": {"settings": {"sni_suffix": "a.example"}}}, "proxy.settings.sni_suffix differ"),
        (
            {"redis": {"url": "redis://store:6379/0"}},
            "valkey.enabled has the chart run another one: set valkey.enabled to false",
        ),
        ({"valkey": {"enabled": False}}, "say in redis.url where the store is"),
        *(
            (
                {"valkey": {"enabled": False}, "redis": {"url": f"{scheme}://{who}@store:6379/0"}},
                "redis.url has a user or a password: write the user into redis.username, and the password into",
            )
            for scheme in ("redis", "rediss")
            for who in ("ann:secret", ":secret", "ann")
        ),
    ],
)
def test_values_that_do_not_fit_together_are_explained(
    helm: Helm, tmp_path: Path, values: Mapping[str, Any], said: str
) -> None:
    assert said in _refusal(helm, tmp_path, values)


@pytest.mark.parametrize(
    "network",
    [
        "10.0.0.0/8",
        "10.1.2.3/32",
        "172.16.0.0/12",
        "172.31.255.0/24",
        "192.168.0.0/16",
        "100.64.0.0/16",
        "fd12:3456::/32",
    ],
)
def test_private_networks_may_be_opened(helm: Helm, network: str) -> None:
    opened = json.dumps([network])
    assert network in helm(
        "template", "headrace", str(CHART), "--set-json", f"networkPolicy.dask.privateNetworks={opened}"
    )


@pytest.mark.parametrize(
    "network",
    [
        *("169.254.169.254/32", "169.254.0.0/16", "0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/7", "172.0.0.0/8"),
        *("100.100.100.200/32", "100.100.0.0/16", "100.64.0.0/10", "168.63.129.16/32", "8.8.8.8/32", "10.0.0.0"),
        *("fd00::/8", "fd00:ec2::/32", "fe80::/10", "::/0", "nfs.example.org", ""),
    ],
)
def test_no_network_with_a_metadata_service_is_opened(helm: Helm, tmp_path: Path, network: str) -> None:
    values = {"networkPolicy": {"dask": {"privateNetworks": [network]}}}
    assert "networkPolicy.dask.privateNetworks: " in _refusal(helm, tmp_path, values)


def test_services_listen_on_all_addresses_of_both_families(helm: Helm) -> None:
    settings = [
        yaml.safe_load(each["data"]["settings.yaml"])
        for each in yaml.safe_load_all(helm("template", "headrace", str(CHART)))
        if each and "settings.yaml" in each.get("data", {})
    ]
    listeners = [value for each in settings for name, value in each.items() if name.endswith("listen")]
    assert len(listeners) == 14
    assert {value.partition(":")[0] if value.startswith("unix:") else value[:5] for value in listeners} == {
        "unix",
        "[::]:",
    }


def test_the_internet_is_nothing_private_behind_nat64(helm: Helm) -> None:
    policies = yaml.safe_load_all(helm("template", "headrace", str(CHART), "-s", "templates/networkpolicies/dask.yaml"))
    [egress] = [each["spec"]["egress"] for each in policies if each["metadata"]["name"] == "headrace-dask"]
    [excepted] = [
        [ip_network(network) for network in to["ipBlock"]["except"]]
        for rule in egress
        if "ports" not in rule
        for to in rule["to"]
        if to.get("ipBlock", {}).get("cidr") == "::/0"
    ]
    private = ("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "168.63.129.16")
    behind = [ip_address(int(ip_address("64:ff9b::")) + int(ip_address(each))) for each in (*private, "8.8.8.8")]
    reached = [address for address in behind if not any(address in network for network in excepted)]
    assert reached == [ip_address("64:ff9b::808:808")]


@pytest.mark.parametrize(
    ("limit", "held"),
    [
        ("1Gi", "644245094"),
        ("256Mi", "161061273"),
        ("1G", "600000000"),
        ("500M", "300000000"),
        (1073741824, "644245094"),
        ("1073741824", "644245094"),
    ],
)
def test_valkey_holds_less_than_its_pod_may(helm: Helm, limit: str | int, held: str) -> None:
    arguments = _valkey(helm, {"limits": {"memory": limit}})
    assert arguments[arguments.index("--maxmemory") + 1] == held
    assert arguments[arguments.index("--maxmemory-policy") + 1] == "noeviction"


def test_valkey_without_a_limit_has_no_other(helm: Helm) -> None:
    assert "--maxmemory" not in _valkey(helm, {"limits": {"memory": None}})


@pytest.mark.parametrize("limit", ["1.5Gi", "100m", "1 Gi", "much"])
def test_a_limit_that_cannot_be_counted_is_explained(helm: Helm, tmp_path: Path, limit: str) -> None:
    said = _refusal(helm, tmp_path, {"valkey": {"resources": {"limits": {"memory": limit}}}})
    assert f"valkey.resources.limits.memory: {limit} is not a whole number of bytes" in said


def _valkey(helm: Helm, resources: Mapping[str, Any]) -> list[str]:
    stated = f"valkey.resources={json.dumps(resources)}"
    template = "templates/valkey/stateful-set.yaml"
    made = yaml.safe_load(helm("template", "headrace", str(CHART), "-s", template, "--set-json", stated))
    return made["spec"]["template"]["spec"]["containers"][0]["args"]


def _maps(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        if part.get("type") == "object":
            yield f"{path}{name}", part
            yield from _maps(part, f"{path}{name}.")


def test_every_map_is_strict_or_meant_to_be_open() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    default = yaml.safe_load((CHART / "values.yaml").read_text())
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {*default, "global"}
    for path, part in _maps(schema):
        assert part.get("additionalProperties") is False or "properties" not in part, path
