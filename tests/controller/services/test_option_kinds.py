"""Kinds of options: what each takes, keeps and refuses."""

from __future__ import annotations

import pytest

from headrace.v1 import options_service_pb2 as pb
from headrace_controller.options.kinds import (
    BadValueError,
    Bool,
    Bytes,
    Float,
    Int,
    Kind,
    Resources,
    Select,
    Text,
    TextList,
    TextMapping,
)


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        (Text(5), "hello", "hello"),
        (Bool(), True, True),
        (Int(0, 9), 4.0, 4),
        (Float(0, 9), 4, 4),
        (Select(("a", "b")), "b", "b"),
        (Bytes(), 1024.0, 1024),
        (Bytes(), "1024", 1024),
        (Bytes(), "4 GiB", 4 * 2**30),
        (Bytes(), "4GB", 4 * 10**9),
        (Bytes(), " 1.5 kib ", 1536),
        (TextMapping(), {"A": "b"}, {"A": "b"}),
        (Resources(), {"GPU": 1.0, "FPGA": "2"}, {"GPU": "1.0", "FPGA": "2"}),
        (TextList(), ["dask", "cuda"], ["dask", "cuda"]),
    ],
)
def test_good_values_are_kept(kind: Kind, given: object, kept: object) -> None:
    checked = kind.check(given)
    assert checked == kept
    assert type(checked) is type(kept)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Text(5), "longer"),
        (Text(5), "ééé"),
        (Text(), "a\0b"),
        (Text(), 1),
        (Text(), None),
        (Bool(), 1),
        (Bool(), "true"),
        (Int(), True),
        (Int(), 1.5),
        (Int(), float("inf")),
        (Int(), float("nan")),
        (Int(0, 9), 10),
        (Int(0, 9), -1),
        (Float(), "1"),
        (Float(0.5), 0.4),
        (Select(("a",)), "b"),
        (Select(("a",)), ["a"]),
        (Bytes(), "4 XB"),
        (Bytes(), "lots"),
        (Bytes(), ""),
        (Bytes(), 0.5),
        (Bytes(0, 10), "1 kB"),
        (Bytes(0), -1),
        (TextMapping(), ["a"]),
        (TextMapping(), {"A": 1}),
        (TextMapping(), {"A=B": "x"}),
        (TextMapping(), {"": "x"}),
        (TextMapping(), {"A": "x\0"}),
        (TextMapping(max_entries=1), {"A": "x", "B": "y"}),
        (TextMapping(max_bytes=3), {"A": "xyz"}),
        (Resources(), {"GPU": "many"}),
        (TextList(), "dask worker"),
        (TextList(), [1]),
        (TextList(max_items=1), ["a", "b"]),
    ],
)
def test_bad_values_are_refused_with_a_sentence(kind: Kind, given: object) -> None:
    with pytest.raises(BadValueError, match=r"^(must|has) .{5,}"):
        kind.check(given)


def test_long_values_are_not_repeated_in_full() -> None:
    with pytest.raises(BadValueError) as caught:
        Int().check("x" * 10_000)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        (Text(), "string_type"),
        (Bool(), "bool_type"),
        (Int(), "int_type"),
        (Float(), "float_type"),
        (Select(("a",)), "select_type"),
        (Bytes(), "bytes_type"),
        (TextMapping(), "mapping_type"),
        (TextList(), "list_type"),
    ],
)
def test_each_kind_tells_its_type(kind: Kind, type_: str) -> None:
    option = pb.Option()
    kind.describe(option)
    assert option.WhichOneof("type") == type_
