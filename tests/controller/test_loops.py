"""What tasks have in common: one bad item keeps no other from its turn."""

from __future__ import annotations

import pytest

from headrace.errors import StoreUnavailable
from headrace_controller.loops import spread


async def test_an_item_that_fails_keeps_no_other_from_being_written() -> None:
    written: list[int] = []

    async def write(item: int) -> None:
        if item == 3:
            raise ValueError(item)
        written.append(item)

    with pytest.raises(ValueError, match="3"):
        await spread(write, range(120))
    assert written == [item for item in range(120) if item != 3]


async def test_nothing_more_is_tried_while_the_store_is_away() -> None:
    tried: list[int] = []

    async def write(item: int) -> None:
        tried.append(item)
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await spread(write, range(120))
    assert len(tried) == 50
