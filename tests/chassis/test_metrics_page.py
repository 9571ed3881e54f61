"""What Prometheus reads, and who else may."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from tests.conftest import Eventually
from tests.held_port import held_port

from headrace_chassis import metrics_page as module
from headrace_chassis.metrics_page import MOST_READERS, NotReady, Page, metrics_page

Start = Callable[..., str]


@pytest.fixture
def start() -> Iterator[Start]:
    """Serves; returns the address."""
    with ExitStack() as stack:

        def start(
            token_file: Path | None = None, pages: Mapping[str, Page] | None = None, host: str = "127.0.0.1"
        ) -> str:
            port = stack.enter_context(held_port(host)).getsockname()[1]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            stack.enter_context(metrics_page(address, token_file, pages))
            return address

        yield start


def get(address: str, path: str = "/metrics", authorization: str | None = None) -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    try:
        with urlopen(Request(f"http://{address}{path}", headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_without_a_token_whoever_reaches_the_page_reads_it(start: Start, host: str) -> None:
    status, page = get(start(host=host))
    assert status == 200
    assert "headrace_rpc_seconds" in page


def test_all_addresses_are_those_of_both_families(start: Start) -> None:
    port = start(host="::").rpartition(":")[2]
    assert [get(f"{host}:{port}")[0] for host in ("127.0.0.1", "[::1]")] == [200, 200]


def test_all_addresses_are_those_of_ipv4_where_the_kernel_has_no_ipv6(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    port = start(host="::").rpartition(":")[2]
    assert get(f"127.0.0.1:{port}")[0] == 200
    with pytest.raises(URLError):
        get(f"[::1]:{port}")


def test_the_page_ends_with_its_service() -> None:
    with held_port() as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with metrics_page(address):
            assert get(address)[0] == 200
        with pytest.raises(OSError, match="refused"):
            get(address)


def test_with_a_token_nothing_is_shown_without_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    address = start(tmp_path / "token", {"/list": lambda: b"[]"})
    for given in (None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "Bearer secret x", "secret"):
        for path in ("/", "/metrics", "/list", "/no-such-page"):
            status, text = get(address, path, given)
            assert status == 401
            assert "headrace_rpc_seconds" not in text
    for path, expected in (("/metrics", "headrace_rpc_seconds"), ("/list", "[]")):
        status, text = get(address, path, "Bearer secret")
        assert status == 200
        assert expected in text


def test_the_token_may_change_and_without_one_nobody_reads(start: Start, tmp_path: Path) -> None:
    token = tmp_path / "token"
    address = start(token)
    assert get(address, authorization="Bearer ")[0] == 401
    token.write_text("")
    assert get(address, authorization="Bearer ")[0] == 401
    token.write_text("new")
    assert get(address, authorization="Bearer new")[0] == 200


def test_further_pages_are_shown_with_a_token_only(start: Start) -> None:
    status, text = get(start(pages={"/list": lambda: b"[]"}), "/list")
    assert status == 403
    assert "metrics_token_file" in text


def test_a_page_that_is_not_ready_says_so(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")

    def page() -> bytes:
        if not known:
            raise NotReady("just started")
        return json.dumps(known).encode()

    known: list[str] = []
    address = start(tmp_path / "token", {"/list": page})
    assert get(address, "/list", "Bearer secret") == (503, "just started\n")
    known.append("c1")
    assert get(address, "/list", "Bearer secret") == (200, '["c1"]')


async def test_who_opens_many_connections_takes_no_more_threads(start: Start, eventually: Eventually) -> None:
    address = start()
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((host, int(port)), 60)) for _ in range(MOST_READERS + 1)]
        assert opened[-1].recv(1) == b""

    def answers() -> bool:
        try:
            return get(address)[0] == 200
        except OSError:
            return False

    await eventually(answers)


def test_readers_for_whom_there_was_no_thread_take_no_place(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_READERS", 1)
    address = start()

    def no_room(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", no_room)
        with pytest.raises(OSError, match=r"closed|reset"):
            get(address)
    assert get(address)[0] == 200
