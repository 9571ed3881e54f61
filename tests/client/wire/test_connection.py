"""Each call: logged in, with a deadline, retried where that is safe, and with errors that say what to do."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import dask.config
import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import TokenAuth, errors
from headrace._target.target import Target
from headrace._wire import auth_calls
from headrace._wire.connection import Connection, pause_after
from headrace.v1.auth_service_pb2 import WhoAmIRequest
from headrace_chassis.tls.certificates import Authority

Connect = Callable[..., Connection]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    connections: list[Connection] = []

    def connect(address: str, ca_file: Path | None = None, token: str = "ann-secret") -> Connection:
        ca = str(ca_file) if ca_file else None
        connections.append(Connection(Target.resolve(address, auth=TokenAuth(token), ca_file=ca)))
        return connections[-1]

    yield connect
    for connection in connections:
        await connection.close()


async def whoami(connection: Connection) -> str:
    return (await auth_calls.whoami(connection)).name


async def test_many_connections_of_a_user_log_in_once(fake: FakeHeadrace, connect: Connect) -> None:
    for _ in range(3):
        assert await whoami(connect(fake.address, fake.ca_file)) == "users/ann"
    assert fake.calls.count("Login") == 1
    assert await whoami(connect(fake.address, fake.ca_file, "bob-secret")) == "users/bob"


async def test_calls_at_once_log_in_once(fake: FakeHeadrace, connection: Connection) -> None:
    await asyncio.gather(*(whoami(connection) for _ in range(10)))
    assert fake.calls.count("Login") == 1


@pytest.mark.parametrize("failure", [errors.TokenExpired, errors.TokenInvalid])
async def test_a_token_that_stopped_working_is_renewed_once(
    fake: FakeHeadrace, connection: Connection, failure: type[errors.HeadraceError]
) -> None:
    fake.fail("WhoAmI", failure("no more"))
    assert await whoami(connection) == "users/ann"
    assert fake.calls.count("Login") == 2
    fake.fail("WhoAmI", failure("no more"), failure("still not"))
    with pytest.raises(failure, match="still not"):
        await whoami(connection)


async def test_a_token_is_renewed_before_it_runs_out(fake: FakeHeadrace, connection: Connection) -> None:
    fake.auth.token_seconds = -1000
    await connection.login()
    fake.auth.token_seconds = 900
    await whoami(connection)
    assert fake.calls == ["Login", "WhoAmI", "Login", "WhoAmI"]


async def test_what_failed_for_want_of_a_server_is_repeated(fake: FakeHeadrace, connection: Connection) -> None:
    fake.fail("WhoAmI", errors.StoreUnavailable("away"), errors.Draining("going"))
    assert await whoami(connection) == "users/ann"
    assert fake.calls.count("WhoAmI") == 3


async def test_what_came_too_often_is_repeated_after_the_time_that_the_server_says(
    fake: FakeHeadrace, connection: Connection
) -> None:
    fake.fail("WhoAmI", errors.TooManyRequests.of("too often", 0.2))
    assert await whoami(connection) == "users/ann"
    assert fake.calls.count("WhoAmI") == 2
    fake.fail("WhoAmI", errors.TooManyRequests.of("too often", 1000))
    with pytest.raises(errors.TooManyRequests, match="too often; repeat it in 1000 s"):
        await whoami(connection)
    assert pause_after(errors.TooManyRequests.of("too often", 7), 0.1) == 7.1
    assert pause_after(errors.Draining("going"), 0.1) == 0.1


async def test_logging_in_is_repeated_too(fake: FakeHeadrace, connection: Connection) -> None:
    fake.fail("Login", errors.StoreUnavailable("away"))
    assert await whoami(connection) == "users/ann"


async def test_repeats_end_with_the_deadline(fake: FakeHeadrace, connection: Connection) -> None:
    await whoami(connection)  # to connect may take longer
    fake.fail("WhoAmI", *[errors.StoreUnavailable("the store is away")] * 100)
    with dask.config.set({"headrace.timeouts.call": "2s"}), pytest.raises(errors.StoreUnavailable, match="away"):
        await whoami(connection)
    assert fake.failures["WhoAmI"]


async def test_what_must_not_happen_twice_is_not_repeated(fake: FakeHeadrace, connection: Connection) -> None:
    fake.fail("WhoAmI", errors.StoreUnavailable("away"))
    with pytest.raises(errors.StoreUnavailable):
        await connection.call(connection.auth.WhoAmI, WhoAmIRequest(), doing="x", retry=False)
    assert fake.calls.count("WhoAmI") == 1


async def test_a_server_that_restarts_is_waited_for(fake: FakeHeadrace, connection: Connection) -> None:
    await whoami(connection)
    await asyncio.to_thread(fake.stop_server)
    call = asyncio.ensure_future(whoami(connection))
    done, _ = await asyncio.wait([call], timeout=0.5)
    assert not done
    await asyncio.to_thread(fake.restart_server)
    assert await call == "users/ann"


async def test_errors_arrive_as_they_were_raised(fake: FakeHeadrace, connection: Connection) -> None:
    fake.fail("WhoAmI", errors.QuotaExceeded.of(subject="users/ann", what="clusters", limit=1, used=1, asked=1))
    with pytest.raises(errors.QuotaExceeded, match="users/ann may have 1 cluster") as raised:
        await whoami(connection)
    assert raised.value.details["limit"] == "1"


async def test_a_wrong_credential_is_told_at_once(fake: FakeHeadrace, connect: Connect) -> None:
    with pytest.raises(errors.BadCredentials, match="wrong"):
        await whoami(connect(fake.address, fake.ca_file, "guessed"))
    assert fake.calls == ["Login"]


async def test_what_needs_no_token_is_asked_without_logging_in(fake: FakeHeadrace, connect: Connect) -> None:
    info = await auth_calls.server_info(connect(fake.address, fake.ca_file, "guessed"))
    assert [method.method for method in info.login_methods] == ["api-token", "password"]
    assert fake.calls == ["GetServerInfo"]


async def test_a_closed_connection_says_so(connection: Connection) -> None:
    await whoami(connection)
    await connection.close()
    with pytest.raises(errors.GatewayServerError, match="closed"):
        await whoami(connection)


# Wrong addresses


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def web_server(fake: FakeHeadrace, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A port that speaks TLS with a good certificate, but HTTP/1.1."""
    authority = Authority.create("web", timedelta(days=1))
    leaf = authority.issue("web", timedelta(days=1), ip_addresses=["127.0.0.1"])
    ca, pair = tmp_path / "web-ca.pem", tmp_path / "web.pem"
    ca.write_bytes(authority.cert_pem)
    pair.write_bytes(leaf.cert_pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, context), daemon=True)
        thread.start()
        yield listener.getsockname()[1], ca
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def _answer(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(100)
        except OSError:
            connection.close()


async def test_a_refused_connection(connect: Connect) -> None:
    with pytest.raises(errors.NotHeadrace, match=r"nothing listens at 127\.0\.0\.1:9.*headrace doctor"):
        await whoami(connect("https://127.0.0.1:9"))


async def test_an_unknown_host(connect: Connect) -> None:
    with pytest.raises(errors.NotHeadrace, match=r"host name 'no-such-host\.invalid' is not known"):
        await whoami(connect("https://no-such-host.invalid:1"))


async def test_a_server_without_tls(connect: Connect, silent: int) -> None:
    with (
        dask.config.set({"headrace.timeouts.connect": "500ms"}),
        pytest.raises(errors.NotHeadrace, match=rf"127\.0\.0\.1:{silent} (does not speak TLS|does not answer)"),
    ):
        await whoami(connect(f"https://127.0.0.1:{silent}"))


async def test_a_web_server(connect: Connect, web_server: tuple[int, Path]) -> None:
    port, ca = web_server
    with pytest.raises(errors.NotHeadrace, match="does not speak HTTP/2, so it is not headrace"):
        await whoami(connect(f"https://127.0.0.1:{port}", ca))


async def test_a_wrong_authority_says_what_the_certificate_says(
    fake: FakeHeadrace, connect: Connect, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Authority.create("somebody else", timedelta(days=1)).cert_pem)
    with pytest.raises(errors.NotHeadrace) as raised:
        await whoami(connect(fake.address, other))
    for part in (
        "certificate",
        "localhost, headrace.test, 127.0.0.1",
        "from fake headrace",
        str(other),
        "headrace.tls.ca-file",
    ):
        assert part in raised.value.message


async def test_a_wrong_host_name(connect: Connect, web_server: tuple[int, Path]) -> None:
    port, ca = web_server
    with pytest.raises(errors.NotHeadrace, match=r"not valid for 'localhost'.*It is for 127\.0\.0\.1, from web"):
        await whoami(connect(f"https://localhost:{port}", ca))


async def test_another_grpc_service(fake: FakeHeadrace, connect: Connect) -> None:
    connection = connect(fake.address, fake.ca_file)
    method: Any = connection.channel.unary_unary("/other.Service/Method")
    with pytest.raises(errors.NotHeadrace, match="does not know this call"):
        await connection.call(method, cast("Any", b""), doing="asking")


async def test_a_forked_process_is_told_and_does_not_hang(connection: Connection) -> None:
    await whoami(connection)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            connection.channel  # noqa: B018
            os.write(writer, b"no error")
        except errors.GatewayServerError as error:
            os.write(writer, error.message.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        output = (await asyncio.to_thread(pipe.read)).decode()
    await asyncio.to_thread(os.waitpid, child, 0)
    assert "was forked" in output
    assert "spawn" in output
