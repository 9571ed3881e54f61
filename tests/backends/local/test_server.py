"""How the zygote hears what controllers ask for."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_backend_local import protocol
from headrace_backend_local.protocol import Forget, LaunchSpec, Request, Start
from headrace_backend_local.zygote.loop import Loop
from headrace_backend_local.zygote.server import Connection, Server
from headrace_controller.backends.process import Role

SPEC = LaunchSpec(
    cluster="c1", process="w-1", role=Role.WORKER, generation=1, tag="", title="", warm=True, directory="", log=""
)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hr-") as directory:
        yield Path(directory) / "socket"


def test_no_request_is_given_files_that_were_closed_with_its_connection(loop: Loop, path: Path) -> None:
    served: list[Request] = []

    def handle(connection: Connection, request: Request, files: list[int]) -> None:
        served.append(request)
        for descriptor in files:
            os.fstat(descriptor)
        if isinstance(request, Forget):
            connection.done(request.id)  # which the controller does not hear any more

    server = Server(loop, path, handle)

    def until_closed() -> None:
        loop.call_later(0.01, loop.stop if served and not server.connections else until_closed)

    with socket.socket(socket.AF_UNIX) as controller, tempfile.TemporaryFile() as file:
        controller.connect(str(path))
        controller.send(protocol.encode(Forget(1, "c1")))
        socket.send_fds(controller, [protocol.encode(Start(2, [SPEC]))], [file.fileno()])
    until_closed()
    loop.run()
    assert served == [Forget(1, "c1")]
