"""What the jobs of the chart may expect of the objects of a namespace."""

from __future__ import annotations

import pytest

from headrace_backend_kubernetes.installation.objects import Objects


class ObjectsContract:
    """A subclass has the fixture `objects`, of a namespace without objects."""

    @pytest.fixture
    def objects(self) -> Objects:
        raise NotImplementedError

    async def test_a_secret_that_is_not_there_is_none(self, objects: Objects) -> None:
        assert await objects.secret("nothing") is None

    async def test_a_secret_is_read_as_it_was_created(self, objects: Objects) -> None:
        assert await objects.create_secret("made", {"bytes": b"\x00\xff\n", "text": b"a"})
        assert await objects.secret("made") == {"bytes": b"\x00\xff\n", "text": b"a"}

    async def test_a_secret_that_exists_is_never_overwritten_by_creating_it(self, objects: Objects) -> None:
        await objects.create_secret("kept", {"key": b"first"})
        assert not await objects.create_secret("kept", {"key": b"second"})
        assert await objects.secret("kept") == {"key": b"first"}

    async def test_a_secret_is_replaced_key_by_key(self, objects: Objects) -> None:
        await objects.create_secret("changed", {"one": b"1", "two": b"2"})
        await objects.replace_secret("changed", {"two": b"3"})
        assert await objects.secret("changed") == {"one": b"1", "two": b"3"}

    async def test_a_config_map_may_be_saved_twice(self, objects: Objects) -> None:
        await objects.save_config_map("settings", {"a": "1"})
        await objects.save_config_map("settings", {"a": "2"})
