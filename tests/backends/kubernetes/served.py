"""What answers instead of an API server, and the kubeconfig that leads there."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handle: Handler, directory: Path) -> AsyncGenerator[Path]:
    """All requests are answered by this; yields a kubeconfig."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield kubeconfig(directory, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def kubeconfig(directory: Path, port: int, scheme: str = "http") -> Path:
    file = directory / "kubeconfig"
    named = {"name": "test"}
    server = {"server": f"{scheme}://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{**named, "cluster": server}],
        "users": [{**named, "user": {"token": "t"}}],
        "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
    }
    file.write_text(json.dumps(content))
    return file
