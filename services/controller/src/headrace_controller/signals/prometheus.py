"""A Prometheus that scrapes the schedulers, asked with PromQL: one query for all clusters in each round."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec

from headrace_chassis.certificate_validity import of_authorities, report
from headrace_chassis.tls.authority_file import AuthorityFile
from headrace_controller.model import ClusterId
from headrace_controller.signals.http import BadAnswer, connect
from headrace_controller.signals.measured import QueryFailed
from headrace_controller.signals.reading import PREFIX
from headrace_controller.signals.source import SourceFailed, Take, Target

_AGE = "age_seconds"
_MOST_ROUND_BYTES = 128 * 1024 * 1024  # of 10,000 clusters there are 24 MB
_MOST_QUERY_BYTES = 8 * 1024 * 1024
_MOST_TOKEN_BYTES = 16 * 1024
_REASON = 300


class _Series(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _Answer(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []


_decoder = msgspec.json.Decoder(_Answer)
_vectors = msgspec.json.Decoder(list[_Series])


class Prometheus:
    """Asks a Prometheus. What it answers is believed as a whole or not at all.

    Parameters
    ----------
    url
        Of its API's root, such as ``http://prometheus:9090``.
    job
        Job of the schedulers. Series of others are never read: anybody whose pages it scrapes may name them alike.
    token_file
        Has the bearer token; read for each request.
    ca_file
        Authority of that Prometheus; read again when it changes. None: those of the system.
    """

    def __init__(
        self, url: str, job: str, *, timeout: float, token_file: Path | None = None, ca_file: Path | None = None
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._path = f"{parts.path.rstrip('/')}/api/v1/query"
        self._authority = AuthorityFile(ca_file, f"queries to {url}") if parts.scheme == "https" else None
        if ca_file:
            report("prometheus_authority", lambda: of_authorities(ca_file.read_bytes()))
        self._timeout = timeout
        self._token_file = token_file
        self._evaluated = 0.0  # Prometheus' time of the last round

        # The age comes with the same evaluation, and goes by one clock. Of several Prometheis' series of one scheduler,
        # those that let less be concluded count.
        def named(selector: str) -> str:
            # `or` takes two series for the same that differ in their name alone, so the name becomes a label.
            return f'label_replace({{__name__=~"{selector}",job="{job}"}},"metric","$1","__name__","{PREFIX}(.+)")'

        age = f'time() - timestamp({PREFIX}idle_seconds{{job="{job}"}})'
        self._round = (
            f"min by (metric, cluster) ({named(f'{PREFIX}(idle|inactive)_seconds')})"
            f" or max by (metric, cluster) ({named(f'{PREFIX}.+')})"
            f' or label_replace(max by (cluster) ({age}), "metric", "{_AGE}", "", "")'
        )

    async def read(self, targets: Sequence[Target], take: Take) -> None:
        """Ask once for all clusters."""
        try:
            series = await self._ask(self._round, _MOST_ROUND_BYTES)
            samples = await asyncio.to_thread(lambda: dict(_by_cluster(series)))
        except QueryFailed as failure:
            raise SourceFailed(f"Prometheus: {failure}") from failure
        if series:
            evaluated, _ = series[0].value
            if evaluated == self._evaluated:  # something before it repeats an answer, whose ages say nothing now
                raise SourceFailed("Prometheus: its answer is the one before again")
            self._evaluated = evaluated
        for target in targets:
            values = samples.get(target.cluster)
            if values is not None and (age := values.get(_AGE)) is not None and age >= 0:
                take(target.cluster, values, age)

    async def query(self, promql: str) -> Mapping[ClusterId, float]:
        """Answer a query of an administrator's own; what is no number, such as 0 / 0, is left out.

        A scheduler can add series of its own cluster: several of one cluster must not spoil the answer for others.
        """
        found: dict[ClusterId, float] = {}
        several: set[ClusterId] = set()
        for series in await self._ask(promql, _MOST_QUERY_BYTES):
            cluster = ClusterId(series.metric.get("cluster", ""))
            if not cluster:
                raise QueryFailed("its series have no label `cluster`: write `... by (cluster)`")
            if cluster in found:
                several.add(cluster)
            found[cluster] = _number(series)
        if several and several == found.keys():
            raise QueryFailed(f"it has several series of cluster {min(several)}: write `... by (cluster)`")
        known = {cluster: value for cluster, value in found.items() if math.isfinite(value)}
        return known | dict.fromkeys(several, math.nan)

    def close(self) -> None:
        """Nothing is kept between two rounds."""

    async def _ask(self, promql: str, most_bytes: int) -> Sequence[_Series]:
        path = f"{self._path}?{urlencode({'query': promql, 'timeout': f'{self._timeout * 1000:.0f}ms'})}"
        try:
            async with asyncio.timeout(self._timeout):
                context = self._authority.context() if self._authority else None
                with closing(await connect(self._host, self._port, context)) as connection:
                    status, body = await connection.get(path, headers=self._headers(), most_bytes=most_bytes)
                return await asyncio.to_thread(_series, status, body)
        except TimeoutError:
            raise QueryFailed(f"it did not answer within {self._timeout:g} s") from None
        except (OSError, BadAnswer) as error:
            raise QueryFailed(str(error)[:_REASON]) from error

    def _headers(self) -> Mapping[str, str]:
        if self._token_file is None:
            return {}
        with self._token_file.open("rb") as file:
            token = file.read(_MOST_TOKEN_BYTES).strip()
        if not token.isascii() or len(token.split()) != 1:
            raise QueryFailed(f"{self._token_file} holds no token")
        return {"Authorization": f"Bearer {token.decode()}"}


def _series(status: int, body: bytes) -> Sequence[_Series]:
    try:
        answer = _decoder.decode(body)
        if answer.status != "success" or answer.data is None:
            raise QueryFailed(answer.error[:_REASON] or f"it answered with status {status}")
        if answer.warnings:
            raise QueryFailed(f"its answer may lack series: {answer.warnings[0][:_REASON]}")
        if answer.data.result_type != "vector":
            raise QueryFailed(f"the query gives a {answer.data.result_type[:20]}, and an instant vector is needed")
        return _vectors.decode(answer.data.result)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        what = f"it answered with status {status}" if status != 200 else f"its answer cannot be read ({error})"
        raise QueryFailed(what[:_REASON]) from error


def _by_cluster(series: Sequence[_Series]) -> Iterator[tuple[str, Mapping[str, float]]]:
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for one in series:
        name, cluster = one.metric.get("metric", ""), one.metric.get("cluster", "")
        values = found[cluster]
        if name in values:
            raise QueryFailed(f"its answer has {name!r} of cluster {cluster} twice")
        values[name] = _number(one)
    yield from found.items()


def _number(series: _Series) -> float:
    try:
        return float(series.value[1])
    except ValueError:
        return math.nan
