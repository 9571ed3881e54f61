"""The check of given values against the options of a profile."""

from __future__ import annotations

import pytest

from headrace_controller.options.catalogue import Options
from headrace_controller.options.standard import standard_options

OPTIONS = Options(standard_options(cores=2.0, memory_bytes=2**30))


def test_defaults_fill_in_what_is_missing_unless_they_mean_nothing_special() -> None:
    assert OPTIONS.check({}, "options") == ({"worker_cores": 2.0, "worker_memory": 2**30}, [])
    assert OPTIONS.check({"worker_threads": 0}, "options", cluster={}) == ({"worker_threads": 0}, [])


@pytest.mark.parametrize(
    ("given", "field", "told"),
    [
        ({"worker_memry": 1}, "options.worker_memry", "did you mean 'worker_memory'?"),
        ({"zzz": 1}, "options.zzz", "there are worker_cores, worker_threads"),
        ({"worker_cores": "two"}, "options.worker_cores", "must be a number"),
        ({"environment": {"A": None}}, "options.environment['A']", "must be text"),
        ({"x" * 500: 1}, "options." + "x" * 80, "there is no such option"),
    ],
)
def test_each_wrong_value_is_named(given: dict[str, object], field: str, told: str) -> None:
    _, [violation] = OPTIONS.check(given, "options")
    assert violation.field == field
    assert told in violation.description
    assert len(violation.description) < 300


def test_everything_that_is_wrong_is_told_at_once() -> None:
    _, violations = OPTIONS.check({"worker_cores": 0, "worker_memory": "lots", "worker_threads": 1}, "spec.options")
    assert {violation.field for violation in violations} == {"spec.options.worker_cores", "spec.options.worker_memory"}


def test_options_of_the_whole_cluster_are_refused_for_a_group() -> None:
    from headrace.option_types import Text
    from headrace_controller.options.catalogue import Option

    prefix = Option(key="conda_prefix", label="", description="", type=Text(), default="")
    _, [violation] = Options([prefix]).check({"conda_prefix": "/opt"}, "o", cluster={})
    assert "set it in spec.options" in violation.description
