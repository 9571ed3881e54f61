from __future__ import annotations

import subprocess
import sys

import dask.config
import pytest

from headrace._target import config
from headrace.errors import GatewayWarning, InvalidRequest


def test_defaults_come_from_the_shipped_file() -> None:
    assert config.get("connect") == "auto"
    assert config.get_text("address") is None
    assert config.get_mapping("cluster.options") == {}


def test_text_is_filled_in_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "example.org")
    with dask.config.set({"headrace.address": "https://{WHERE}:1", "headrace.cluster.options": {"image": "{WHERE}/x"}}):
        assert config.get_text("address") == "https://example.org:1"
        assert config.get_mapping("cluster.options") == {"image": "example.org/x"}


def test_templates_within_mappings_and_lists_of_options_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPU_LIMIT", "2.0")
    options = {
        "worker_cores": "{CPU_LIMIT}",
        "environment": {"N": "{CPU_LIMIT}", "M": 1},
        "command": ["x", "{CPU_LIMIT}"],
    }
    with dask.config.set({"headrace.cluster.options": options}):
        filled = config.get_mapping("cluster.options")
    assert filled == {"worker_cores": "2.0", "environment": {"N": "2.0", "M": 1}, "command": ["x", "2.0"]}


def test_a_missing_variable_is_named() -> None:
    with (
        dask.config.set({"headrace.address": "https://{NOWHERE}"}),
        pytest.raises(InvalidRequest, match=r"headrace\.address.*NOWHERE is not set"),
    ):
        config.get("address")


@pytest.mark.parametrize("text", ["{", "{0}", "a}b", "{}", "{HOME!r}", "{HOME:>9}", "{HOME.__class__}"])
def test_text_that_is_no_template_is_told(text: str) -> None:
    with dask.config.set({"headrace.address": text}), pytest.raises(InvalidRequest, match="not a valid template"):
        config.get("address")


@pytest.mark.parametrize(
    ("given", "seconds"), [(30, 30), ("30", 30), ("1.5 m", 90), ("300ms", 0.3), ("2h", 7200), ("7 d", 604800)]
)
def test_times_have_units(given: object, seconds: float) -> None:
    assert config.seconds(given, "timeout") == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["soon", "-1", "1 year", None, "1.2.3", "9" * 99, "nan", "inf"])
def test_other_times_are_refused(given: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^timeout: is .* must be a time"):
        config.seconds(given, "timeout")


def test_a_mapping_must_be_one() -> None:
    with dask.config.set({"headrace.auth.kwargs": "x"}), pytest.raises(InvalidRequest, match="must be a mapping"):
        config.get_mapping("auth.kwargs")


@pytest.mark.parametrize("without_dask", [False, True])
def test_the_environment_counts_with_and_without_dask(without_dask: bool) -> None:
    code = "import sys\n" + ("sys.modules['dask'] = None\n" if without_dask else "")
    code += "from headrace._target import config; print(config.get('address'), config.get_mapping('cluster.options'))"
    env = {"DASK_HEADRACE__ADDRESS": "https://a:1", "DASK_HEADRACE__CLUSTER__OPTIONS": "{'x': 1}", "PATH": "/usr/bin"}
    answer = subprocess.check_output([sys.executable, "-c", code], text=True, env=env)
    assert answer.strip() == "https://a:1 {'x': 1}"


# What was configured for dask-gateway


@pytest.fixture
def _unwarned() -> None:
    config._warn.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("_unwarned")
@pytest.mark.parametrize(
    ("theirs", "value", "ours"),
    [
        ("address", "https://hub.example.org", "address"),
        ("public-address", "/services/dask", "public-address"),
        ("proxy-address", 8786, "proxy-address"),
        ("auth.type", "jupyterhub", "auth.type"),
        ("auth.kwargs", {"api_token": "x"}, "auth.kwargs"),
        ("cluster.options", {"image": "x"}, "cluster.options"),
        ("http-client.proxy", False, "http-proxy"),
    ],
)
def test_a_setting_of_dask_gateway_is_taken_with_one_warning(theirs: str, value: object, ours: str) -> None:
    with dask.config.set({f"gateway.{theirs}": value}):
        with pytest.warns(GatewayWarning, match=rf"where headrace has none: gateway\.{theirs}; rename") as warned:
            values = [config.get(ours) for _ in range(2)]
        assert (values, len(warned)) == ([value, value], 1)
        if isinstance(value, str):
            with dask.config.set({f"headrace.{ours}": "mine"}):
                assert config.get(ours) == "mine"


def test_the_defaults_of_dask_gateway_are_nothing() -> None:
    """They are there as soon as somebody imports it."""
    defaults = {
        "gateway.address": None,
        "gateway.auth.type": "basic",
        "gateway.auth.kwargs": {},
        "gateway.cluster.options": {},
        "gateway.http-client.proxy": True,
    }
    with dask.config.set(defaults):
        assert (config.get("auth.type"), config.get("http-proxy"), config.get("cluster.options")) == (None, True, {})


@pytest.mark.parametrize("without_dask", [False, True])
def test_its_environment_counts_too(without_dask: bool) -> None:
    code = "import sys\n" + ("sys.modules['dask'] = None\n" if without_dask else "")
    code += "from headrace._target import config; print(config.get('address'), config.get('http-proxy'))"
    env = {"DASK_GATEWAY__ADDRESS": "https://a:1", "DASK_GATEWAY__HTTP_CLIENT__PROXY": "false", "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], text=True, env=env, capture_output=True, check=True)
    assert done.stdout.strip() == "https://a:1 False"
    assert done.stderr.count("gateway.address, gateway.http-client.proxy; rename `gateway` to `headrace`") == 1
