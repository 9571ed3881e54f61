"""Layers of settings: mappings merge, lists append, null removes."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_backend_kubernetes.merging import merge, without_nulls


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": [1]}, {"a": [2, 1]}, {"a": [1, 2, 1]}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"x": 1}}, {"a": [1]}, {"a": [1]}),
        ({"a": [1]}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": None}}, {"a": {"y": 2}}),
        ({"a": {"x": 1}}, {"a": None}, {}),
        ({}, {"a": {"x": None}}, {"a": {}}),
        ({"a": [{"x": None, "y": 1}]}, {}, {"a": [{"y": 1}]}),
    ],
)
def test_merge(base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]) -> None:
    assert without_nulls(merge(base, over)) == merged


def test_a_null_of_a_middle_layer_removes_what_is_below_it_only() -> None:
    layers = merge(merge({"a": {"x": 1}}, {"a": None}), {"a": {"y": 2}})
    assert without_nulls(layers) == {"a": {"y": 2}}


def test_merging_changes_neither_layer() -> None:
    base, over = {"a": {"x": [1]}}, {"a": {"x": [2]}}
    merge(base, over)["a"]["x"].append(3)
    assert (base, over) == ({"a": {"x": [1]}}, {"a": {"x": [2]}})
