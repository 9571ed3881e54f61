"""The deployment's keys and what they seal."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_chassis.identity.seal import DeploymentKeyError, Seal, new_deployment_key, read_deployment_keys

OLD, NEW = b"o" * 32, b"n" * 32


@given(st.binary())
def test_what_is_sealed_opens_again(content: bytes) -> None:
    assert Seal([NEW]).open(Seal([NEW]).seal(content)) == content


def test_after_rotation_old_seals_open_and_new_ones_use_the_new_key() -> None:
    sealed = Seal([OLD]).seal(b"x")
    rotated = Seal([NEW, OLD])
    assert rotated.open(sealed) == b"x"
    assert Seal([NEW]).open(rotated.seal(b"y")) == b"y"
    with pytest.raises(DeploymentKeyError, match="put that key back"):
        Seal([NEW]).open(sealed)


@given(st.integers(min_value=0, max_value=80), st.integers(min_value=1, max_value=255))
def test_an_altered_or_cut_seal_does_not_open(position: int, flip: int) -> None:
    # Not of the base64: "+" and "-" are read as the same there.
    sealed = bytearray(base64.urlsafe_b64decode(Seal([NEW]).seal(b"content")))
    if position < len(sealed):
        sealed[position] ^= flip
    else:
        sealed = sealed[:10]
    with pytest.raises(DeploymentKeyError):
        Seal([NEW]).open(base64.urlsafe_b64encode(sealed))


def test_keys_are_read_from_a_file_the_sealing_one_first(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    lines = [new_deployment_key(), new_deployment_key()]
    file.write_text("\n".join(lines) + "\n")
    keys = read_deployment_keys(file)
    assert [len(key) for key in keys] == [32, 32]


@pytest.mark.parametrize("content", ["", "c2hvcnQ=", "not base64!", "é"])
def test_a_bad_key_file_is_explained(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(DeploymentKeyError, match=str(file)):
        read_deployment_keys(file)
