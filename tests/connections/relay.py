"""Passes TCP connections on: python relay.py <address to listen at> <address to connect to> <port of both>."""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def main(here: str, there: str, port: int) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            reader_there, writer_there = await asyncio.open_connection(there, port)
            await asyncio.gather(_copy(reader, writer_there), _copy(reader_there, writer))

    server = await asyncio.start_server(relay, here, port)
    print("relaying", flush=True)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
