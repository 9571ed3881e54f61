"""Types of options: what each takes, keeps and refuses, and how the contract carries it."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pytest

from headrace.option_protos import get_type, set_type, value_from_proto, value_to_proto
from headrace.option_types import (
    BadType,
    BadValue,
    Bool,
    Bytes,
    Choice,
    Duration,
    Float,
    Int,
    NumberMapping,
    OptionType,
    Select,
    Text,
    TextList,
    TextMapping,
    check_pattern,
    describe_bounds,
)
from headrace.v1 import option_value_pb2
from headrace.v1 import options_service_pb2 as pb

SIZES = Select((Choice(2 * 2**30, "2 GiB"), Choice(4 * 2**30, "4 GiB")))
COLOURS = Select((Choice("red"), Choice("green", "like grass")))


@pytest.mark.parametrize(
    ("type_", "given", "kept"),
    [
        (Text(5), "hello", "hello"),
        (Text(None), "x" * 5000, "x" * 5000),
        (Bool(), True, True),
        (Int(0, 9), 4.0, 4),
        (Int(), np.int64(4), 4),
        (Int(), 2**63 - 1, 2**63 - 1),
        (Float(0, 9), 4, 4.0),
        (Float(), np.float32(0.5), 0.5),
        (Float(), Decimal("0.25"), 0.25),
        (Int(), "4", 4),
        (Int(), " -4 ", -4),
        (Float(), "2.0", 2.0),
        (Float(), "1e-3", 0.001),
        (Text(pattern="[a-z]+(/[a-z]+)*"), "lab/dask", "lab/dask"),
        (Duration(), "2 h", 7200.0),
        (Duration(), "1 h 30 min", 5400.0),
        (Duration(), 90, 90.0),
        (Duration(), timedelta(days=1), 86400.0),
        (Duration(60, 7200), "7200", 7200.0),
        (TextMapping(denied_keys=("HEADRACE_*",)), {"MY_HEADRACE_X": "1"}, {"MY_HEADRACE_X": "1"}),
        (COLOURS, "red", "red"),
        (COLOURS, "like grass", "green"),
        (SIZES, 2**31, 2**31),
        (SIZES, float(2**31), 2**31),
        (SIZES, "4 GiB", 2**32),
        (Select((Choice(True), Choice(1))), 1, 1),
        (Bytes(), 1024.0, 1024),
        (Bytes(), "1024", 1024),
        (Bytes(), "4 GiB", 4 * 2**30),
        (Bytes(), "4GB", 4 * 10**9),
        (Bytes(), " 1.5 kib ", 1536),
        (Bytes(), "1e6", 10**6),
        (Bytes(), "2.PB", 2 * 10**15),
        (Bytes(), "1152921504606846977", 2**60 + 1),
        (TextMapping(), {"A": "b", "N": 1}, {"A": "b", "N": "1"}),
        (TextMapping(), {"N": 1.0, "X": 0.25}, {"N": "1", "X": "0.25"}),
        (TextMapping(), MappingProxyType({"A": "b"}), {"A": "b"}),
        (NumberMapping(), {"GPU": 1, "FPGA": 0.5}, {"GPU": 1.0, "FPGA": 0.5}),
        (TextList(), ["dask", "cuda"], ["dask", "cuda"]),
        (TextList(), ("dask",), ["dask"]),
    ],
)
def test_values_that_fit_are_kept(type_: OptionType, given: object, kept: object) -> None:
    checked = type_.check(given)
    assert checked == kept
    assert type(checked) is type(kept)
    assert value_from_proto(value_to_proto(checked)) == kept


@pytest.mark.parametrize(
    ("type_", "given"),
    [
        (Text(5), "longer"),
        (Text(5), "ééé"),
        (Text(), "a\0b"),
        (Text(), "\ud800"),
        (Int(), float("1e300")),
        (Int(), 2**63),
        (Int(0, 9), 10),
        (Int(0, 9), -1),
        (Float(), math.inf),
        (Float(), math.nan),
        (Float(0.5), 0.4),
        (COLOURS, "blue"),
        (Text(pattern="[a-z]+"), "lab1"),
        (Text(pattern="[a-z]+"), "lab\n"),
        (Text(pattern="(a|aa)+b"), "a" * 1000),
        (Duration(), "2 fortnights"),
        (Duration(), "soon"),
        (Duration(), ""),
        (Duration(), "1" * 65),
        (Duration(), "1 2 h"),
        (Duration(), -1),
        (Duration(60), "59 s"),
        (Duration(maximum=7200), "3 h"),
        (Duration(), math.nan),
        (Int(0, 9), "10"),
        (Int(), "9" * 60),
        (TextMapping(denied_keys=("HEADRACE_*",)), {"HEADRACE_CLUSTER": "x"}),
        (TextMapping(denied_keys=("DASK_DISTRIBUTED__COMM__TLS__*",)), {"DASK_distributed__comm__tls__ca-file": "x"}),
        (Bytes(), "4 XB"),
        (Bytes(), "lots"),
        (Bytes(), ""),
        (Bytes(), "9" * 64),
        (Bytes(), "1" * 65),
        (Bytes(), "1e99 PiB"),
        (Bytes(0, 10), "1 kB"),
        (Bytes(0), -1),
        (TextMapping(), {"A=B": "x"}),
        (TextMapping(), {"": "x"}),
        (TextMapping(), {"A": "x\0"}),
        (TextMapping(max_entries=1), {"A": "x", "B": "y"}),
        (TextMapping(), {"A": "x" * 32768}),
        (NumberMapping(), {"GPU": math.inf}),
        (NumberMapping(max_entries=1), {"A": 1, "B": 2}),
        (TextList(max_items=1), ["a", "b"]),
        (TextList(), ["x" * 20000, "y" * 20000]),
    ],
)
def test_values_out_of_bounds_are_refused_with_a_sentence(type_: OptionType, given: object) -> None:
    with pytest.raises(BadValue, match=r"^(must|may) .{5,}") as caught:
        type_.check(given)
    assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("type_", "given"),
    [
        (Text(), 1),
        (Text(), None),
        (Text(), b"x"),
        (Bool(), 1),
        (Bool(), "true"),
        (Int(), True),
        (Int(), 1.5),
        (Int(), "1.5"),
        (Int(), "one"),
        (Int(), "²"),
        (Int(), "1" * 65),
        (Int(), math.inf),
        (Int(), math.nan),
        (Float(), "inf"),
        (Float(), "1_000"),
        (Duration(), True),
        (Duration(), None),
        (Duration(), [60]),
        (Float(), True),
        (Float(), [1.0]),
        (Float(), 10**400),
        (COLOURS, 3),
        (COLOURS, ["red"]),
        (Select((Choice(value=True),)), 1.5),
        (Bytes(), 0.5),
        (Bytes(), []),
        (TextMapping(), ["a"]),
        (TextMapping(), {"A": True}),
        (TextMapping(), {"A": None}),
        (TextMapping(), {1: "x"}),
        (NumberMapping(), {"GPU": "2"}),
        (NumberMapping(), {"GPU": True}),
        (TextList(), "dask worker"),
        (TextList(), {"a"}),
        (TextList(), [1]),
    ],
)
def test_values_of_the_wrong_type_are_refused_as_such(type_: OptionType, given: object) -> None:
    with pytest.raises(BadType, match=r"^must be .{3,}"):
        type_.check(given)


@pytest.mark.parametrize(
    ("type_", "given", "path"),
    [
        (TextMapping(), {"A": None}, "['A']"),
        (TextMapping(), {1: "x"}, ": key 1"),
        (NumberMapping(), {"GPU": "x"}, "['GPU']"),
        (TextList(), ["a", 1], "[1]"),
        (Int(), "x", ""),
    ],
)
def test_the_wrong_part_of_a_value_is_named(type_: OptionType, given: object, path: str) -> None:
    with pytest.raises(BadValue) as caught:
        type_.check(given)
    assert caught.value.path == path


def test_bounds_of_durations_are_told_with_units() -> None:
    with pytest.raises(BadValue, match=r"must be at most 2 h, is 150 min"):
        Duration(0, 7200).check(9000)


def test_a_denied_key_is_named_with_its_rule() -> None:
    with pytest.raises(BadValue, match=r"may not be set, as nothing that is named like HEADRACE_\*") as caught:
        TextMapping(denied_keys=("HEADRACE_*",)).check({"A": "1", "headrace_token": "x"})
    assert caught.value.path == "['headrace_token']"


IMAGES = Text(allowed=("registry.example.org/*", "ghcr.io/lab/dask:*"), denied=("*:latest", "*/old[1]*"))


@pytest.mark.parametrize(
    "image", ["", "registry.example.org/x:1", "registry.example.org/a/b@sha256:0", "ghcr.io/lab/dask:2"]
)
def test_a_text_that_is_like_one_that_is_allowed_is_kept(image: str) -> None:
    assert IMAGES.check(image) == image


def test_a_text_that_is_not_allowed_is_refused_with_what_is() -> None:
    for image in ("docker.io/x", "evil.org/registry.example.org/x", "ghcr.io/lab/dask", "Registry.example.org/x"):
        with pytest.raises(BadValue) as caught:
            IMAGES.check(image)
        assert str(caught.value) == (
            f"must be like registry.example.org/* or ghcr.io/lab/dask:*, is {image!r}; no other is allowed"
        )
    for image, pattern in [("registry.example.org/x:latest", "*:latest"), ("registry.example.org/old[1]", "*/old[1]*")]:
        with pytest.raises(BadValue) as caught:
            IMAGES.check(image)
        assert str(caught.value) == f"must not be like {pattern}, is {image!r}; that is not allowed"
    assert IMAGES.check("registry.example.org/old1")  # only * has a meaning
    assert describe_bounds(IMAGES) == "like registry.example.org/* or ghcr.io/lab/dask:*"
    assert describe_bounds(Text(denied=("x",))) == ""


@pytest.mark.parametrize("key", ["1A", "A B", "É", "A\n", "A(x)"])
def test_a_key_that_does_not_match_is_named_with_the_pattern(key: str) -> None:
    type_ = TextMapping(key_pattern="[A-Z][A-Z0-9]*")
    assert type_.check({"A1": "x"}) == {"A1": "x"}
    with pytest.raises(BadValue, match=r"must have a name that matches the pattern \[A-Z\]\[A-Z0-9\]\*$") as caught:
        type_.check({"A": "x", key: "x"})
    assert caught.value.path == f"[{key!r}]"


@pytest.mark.parametrize("pattern", ["[", "(?=a)b", r"(a)\1", "a{999999}", "(" * 500])
def test_patterns_that_cannot_be_matched_in_linear_time_are_refused(pattern: str) -> None:
    with pytest.raises(BadValue, match="is no regular expression that can be used"):
        check_pattern(pattern)


def test_bounds_of_bytes_are_told_with_units() -> None:
    with pytest.raises(BadValue, match=r"must be at most 4 GiB, is 8 GiB"):
        Bytes(0, 2**32).check("8 GiB")


def test_long_values_are_not_repeated_in_full() -> None:
    with pytest.raises(BadValue) as caught:
        Int().check("x" * 10_000)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("type_", "field"),
    [
        (Text(7), "string_type"),
        (Text(None), "string_type"),
        (Text(9, "[a-z]*"), "string_type"),
        (IMAGES, "string_type"),
        (TextMapping(key_pattern="[A-Z]*"), "mapping_type"),
        (Duration(), "duration_type"),
        (Duration(60, 7200.5), "duration_type"),
        (Bool(), "bool_type"),
        (Int(), "int_type"),
        (Int(0, 9), "int_type"),
        (Float(maximum=0.5), "float_type"),
        (SIZES, "select_type"),
        (Select((Choice(value=True), Choice(["a"], "a list"))), "select_type"),
        (Bytes(0), "bytes_type"),
        (TextMapping(8), "mapping_type"),
        (TextMapping(8, ("HEADRACE_*", "LD_*")), "mapping_type"),
        (NumberMapping(None), "number_mapping_type"),
        (TextList(9), "list_type"),
    ],
)
def test_clients_get_the_type_that_the_server_has(type_: OptionType, field: str) -> None:
    option = pb.Option()
    set_type(option, type_)
    assert option.WhichOneof("type") == field
    assert get_type(option) == type_


def test_what_this_version_does_not_know_is_none() -> None:
    assert get_type(pb.Option()) is None
    assert value_from_proto(option_value_pb2.OptionValue()) is None
    option = pb.Option()
    option.select_type.choices.add(label="from the future")
    assert get_type(option) == Select(())


@pytest.mark.parametrize("value", [None, b"x", {1: 2}, {"a": None}, {"a": "b", "c": 1}, [1], object(), 2**63])
def test_what_the_contract_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(BadType, match="must be a value that an option can have"):
        value_to_proto(value)


def test_integers_stay_integers() -> None:
    assert value_to_proto(3).WhichOneof("value") == "int_value"
    assert value_to_proto(3.0).WhichOneof("value") == "double_value"
    assert value_to_proto(value=True).WhichOneof("value") == "bool_value"
