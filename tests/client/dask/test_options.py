"""Options: a mapping that checks, and a form."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from tests.client import fake_options

from headrace import Gateway, Options
from headrace.errors import InvalidRequest, UnknownOption, WrongType


@pytest.fixture
def options() -> Options:
    return Options(fake_options.options())


def test_an_option_is_a_key_and_an_attribute(options: Options) -> None:
    assert options["worker_cores"] == options.worker_cores == 2
    options.worker_cores = 4
    options["size"] = "large"
    assert options.worker_cores == 4
    assert len(options) == len(list(options)) == 11
    assert "worker_cores" in dir(options)
    assert "worker_cores=4" in repr(options)


def test_unknown_options_suggest_a_known_one(options: Options) -> None:
    with pytest.raises(UnknownOption, match="worker_cors: there is no such option; did you mean 'worker_cores'"):
        options.worker_cors = 1
    with pytest.raises(KeyError, match="there are worker_cores, worker_memory"):
        options["zzz"]
    with pytest.raises(AttributeError):
        options.zzz  # noqa: B018
    assert not hasattr(options, "zzz")
    assert options.get("zzz") is None
    with pytest.raises(InvalidRequest, match="this deployment has none"):
        Options()["x"]


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("worker_cores", 16, 16),
        ("worker_memory", "4 GiB", 4 * 2**30),
        ("worker_memory", 4e9, 4_000_000_000),
        ("size", "small", "small"),
        ("size", "Large one", "large"),
        ("worker_resources", {"GPU": 1}, {"GPU": 1.0}),
        ("environment", {"OMP_NUM_THREADS": 1, "A": "b"}, {"OMP_NUM_THREADS": "1", "A": "b"}),
        ("gpu", True, True),
        ("spot", 1, 1.0),
        ("image", "lab:1", "lab:1"),
        ("worker_cores", "4", 4),
        ("spot", "0.25", 0.25),
        ("patience", "2 h", 7200.0),
        ("patience", timedelta(minutes=5), 300.0),
        ("command", ("dask", "worker"), ["dask", "worker"]),
        ("from_the_future", {"any": ["thing"]}, {"any": ["thing"]}),
    ],
)
def test_values_that_fit(options: Options, key: str, value: object, kept: object) -> None:
    options[key] = value
    assert options[key] == kept
    assert type(options[key]) is type(kept)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("worker_cores", 2.5, "must be a whole number, is 2.5 (float)"),
        ("worker_cores", True, "must be a whole number"),
        ("worker_memory", [], "must be a whole number"),
        ("size", 3, "must be one of 'small', 'Large one'"),
        ("worker_resources", {"GPU": "two"}, "worker_resources['GPU']: must be a number"),
        ("environment", ["A"], "must be a mapping of text to text"),
        ("environment", {1: "x"}, "environment: key 1: must be text"),
        ("environment", {"A": True}, "environment['A']: must be text"),
        ("gpu", "yes", "must be True or False"),
        ("spot", "cheap", "must be a number"),
        ("spot", True, "must be a number"),
        ("image", b"x", "must be text"),
        ("command", "dask", "must be a list of texts"),
        ("command", [1], "command[0]: must be text"),
    ],
)
def test_values_of_the_wrong_type(options: Options, key: str, value: object, message: str) -> None:
    before = options[key]
    with pytest.raises(TypeError) as raised:
        options[key] = value
    assert isinstance(raised.value, WrongType)
    assert key in str(raised.value)
    assert message in str(raised.value)
    assert options[key] == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("worker_cores", 0, "must be at least 1, is 0"),
        ("worker_cores", 17, "must be at most 16, is 17"),
        ("worker_memory", "4 gigs", "must be a number of bytes or text such as '4 GiB', is '4 gigs'"),
        ("worker_memory", "1 KiB", "must be at least"),
        ("size", "medium", "must be one of 'small', 'Large one', is 'medium'"),
        ("environment", {str(n): "" for n in range(9)}, "at most 8 keys, has 9"),
        ("spot", 1.5, "must be at most 1"),
        ("spot", float("nan"), "must be finite"),
        ("image", "x" * 65, "at most 64 bytes, has 65"),
        ("image", "lab", "must match the pattern ([a-z]+:[0-9]+)?, is 'lab'"),
        ("patience", "2 d", "must be at most 1 d, is 2 d"),
        ("patience", "a while", "must be a length of time such as '2 h'"),
        ("environment", {"HEADRACE_ROLE": "x"}, "environment['HEADRACE_ROLE']: may not be set"),
        ("command", ["x"] * 5, "at most 4 items, has 5"),
    ],
)
def test_values_out_of_bounds(options: Options, key: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        options[key] = value
    assert isinstance(raised.value, InvalidRequest)
    assert key in str(raised.value)


def test_options_cannot_be_removed(options: Options) -> None:
    with pytest.raises(TypeError, match="cannot be removed"):
        del options["image"]
    with pytest.raises(TypeError, match="cannot be removed"):
        del options.image


def test_the_html_view_is_safe(options: Options) -> None:
    options.command = ["<script>"]
    text = options._repr_html_()  # pyright: ignore[reportPrivateUsage] - IPython calls it so
    assert "worker_memory = 2 GiB" in text
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "Memory of a worker" in text


def test_sizes_are_shown_as_people_write_them(options: Options) -> None:
    assert "worker_memory='2 GiB'" in repr(options)
    assert "patience='1 h'" in repr(options)
    options.worker_memory = 2**20 + 1
    assert "worker_memory=1048577" in repr(options)


# The form


@pytest.fixture
def fields(options: Options) -> dict[str, Any]:
    """From key to the label, the field and the remark of its row."""
    pytest.importorskip("ipywidgets")
    from headrace._dask.options_widget import form

    _, *rows = form(vars(options)["_options"].values()).children
    return {key: row.children for key, row in zip(options, rows, strict=True)}


def test_the_form_shows_the_values(fields: dict[str, Any]) -> None:
    values = {key: field.value for key, (_, field, _) in fields.items()}
    assert values["worker_cores"] == 2
    assert values["worker_memory"] == "2 GiB"
    assert values["size"] == "small"
    assert values["gpu"] is False
    assert values["environment"] == ""
    assert values["patience"] == "1 h"
    assert "Memory of a worker" in fields["worker_memory"][2].value


def test_what_is_typed_is_checked_and_taken(options: Options, fields: dict[str, Any]) -> None:
    _, field, remark = fields["worker_cores"]
    field.value = 5
    assert options.worker_cores == 5
    field.value = 99
    assert options.worker_cores == 5
    assert "must be at most 16, is 99" in remark.value
    fields["environment"][1].value = '{"A": "b"}'
    assert options.environment == {"A": "b"}
    fields["environment"][1].value = "{"
    assert "not JSON" in fields["environment"][2].value
    fields["command"][1].value = ""
    fields["worker_memory"][1].value = "1048576"
    assert (options.command, options.worker_memory) == ([], 1048576)
    fields["patience"][1].value = "90 min"
    assert options.patience == 5400
    fields["image"][1].value = "lab"
    assert "must match the pattern" in fields["image"][2].value
    fields["worker_memory"][1].value = "a lot"
    assert "must be a number of bytes" in fields["worker_memory"][2].value


def test_each_key_that_is_typed_is_checked_without_changing_the_text(options: Options, fields: dict[str, Any]) -> None:
    _, field, remark = fields["worker_memory"]
    for text, value in (("8", 2 << 30), ("8 ", 2 << 30), ("8 M", 8_000_000), ("8 Mi", 8 << 20), ("8 MiB", 8 << 20)):
        field.value = text
        assert (field.value, options.worker_memory) == (text, value)
        assert ("must be at least" in remark.value) is (value == 2 << 30)
    assert field.continuous_update


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("worker_cores", ">(at least 1, at most 16)<"),
        ("worker_memory", ">Memory of a worker (at least 1 MiB)<"),
        ("patience", ">(at most 1 d)<"),
        ("spot", ">(at most 1)<"),
        ("size", "><"),
    ],
)
def test_the_bounds_of_an_option_are_shown(options: Options, fields: dict[str, Any], key: str, told: str) -> None:
    assert told in fields[key][2].value
    html = options._repr_html_()  # pyright: ignore[reportPrivateUsage] - IPython calls it so
    assert told.strip("<>") in html


def test_what_a_program_sets_is_shown(options: Options, fields: dict[str, Any]) -> None:
    options.size = "large"
    options.worker_memory = 3 << 30
    options.environment = {"A": "b"}
    options.patience = 60
    assert fields["patience"][1].value == "1 min"
    assert fields["size"][1].value == "large"
    assert fields["worker_memory"][1].value == "3 GiB"
    assert fields["environment"][1].value == '{"A": "b"}'


def test_notebooks_get_the_form(gateway: Gateway) -> None:
    pytest.importorskip("ipywidgets")
    bundle = gateway.cluster_options()._repr_mimebundle_()  # pyright: ignore[reportPrivateUsage] - IPython calls it so
    assert {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
