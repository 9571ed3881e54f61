"""A Prometheus that is wrong, lies or is away decides nothing. `tests/prometheus` has a real one."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from headrace_chassis.tls.certificate_files import BadTlsFile
from headrace_chassis.tls.certificates import Authority
from headrace_controller.model import ClusterId
from headrace_controller.signals.measured import Absence, Measured, NotMeasured, QueryFailed
from headrace_controller.signals.prometheus import Prometheus
from headrace_controller.signals.reading import NAMES
from headrace_controller.signals.rounds import MeasuredSignals
from headrace_controller.signals.source import Target

C1, C2 = ClusterId("c1"), ClusterId("c2")
DAY = timedelta(days=1)
NOW, CREATED = 50_000.0, 40_000.0
_times = count(NOW)


def vector(*series: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": series}, **more}


def one(value: object, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [next(_times), str(value)]}


def sample(cluster: str, age: object = 1, **numbers: object) -> list[dict[str, Any]]:
    values = {**dict.fromkeys(sorted(NAMES), 0), **numbers, "age_seconds": age}
    return [one(value, metric=name, cluster=cluster) for name, value in values.items()]


@dataclass
class FakePrometheus:
    """Answers each request with what a test wants."""

    answer: object = None
    status: str = "200 OK"
    hangs: bool = False
    url: str = ""
    query: str = ""
    head: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.query = parse_qs(urlsplit(self.head.split(" ")[1]).query)["query"][0]
            if self.hangs:
                await reader.read()
            body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
            writer.write(f"HTTP/1.0 {self.status}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
        finally:
            writer.close()  # also if the test ends meanwhile: what is left open fails the next one


@pytest.fixture
async def there() -> AsyncIterator[FakePrometheus]:
    fake = FakePrometheus()
    server = await asyncio.start_server(fake.handle, "127.0.0.1", 0)
    fake.url = "http://{}:{}/below".format(*server.sockets[0].getsockname())
    yield fake
    server.close()


@dataclass
class Asking:
    signals: MeasuredSignals
    source: Prometheus


def new_asking(there: FakePrometheus, timeout: float) -> Asking:
    source = Prometheus(there.url, "headrace-schedulers", timeout=timeout)
    targets = [Target(cluster, CREATED, CREATED, "127.0.0.1:1") for cluster in (C1, C2)]
    return Asking(MeasuredSignals(source, lambda: targets, interval=1, stale=90, clock=lambda: NOW), source)


@pytest.fixture
def asking(there: FakePrometheus) -> Asking:
    return new_asking(there, timeout=30)


@pytest.fixture
def hasty(there: FakePrometheus) -> Asking:
    return new_asking(there, timeout=0.5)


async def test_one_query_brings_all_clusters_with_their_age(there: FakePrometheus, asking: Asking) -> None:
    there.answer = vector(*sample("c1", 7, idle_seconds=100, clients=3), *sample("c2", 8), *sample("stranger"))
    await asking.signals.measure()
    found = asking.signals.of(C1)
    assert isinstance(found, Measured)
    assert (found.time, found.idle_since, found.clients) == (NOW - 7, NOW - 107, 3)
    assert isinstance(asking.signals.of(C2), Measured)
    assert isinstance(asking.signals.of(ClusterId("stranger")), NotMeasured)
    assert there.head.startswith("GET /below/api/v1/query?")
    assert there.query.count('job="headrace-schedulers"') == 3


async def test_a_sample_that_is_old_is_stale_from_the_start(there: FakePrometheus, asking: Asking) -> None:
    there.answer = vector(*sample("c1", 89), *sample("c2", 90))
    await asking.signals.measure()
    assert isinstance(asking.signals.of(C1), Measured)
    found = asking.signals.of(C2)
    assert isinstance(found, NotMeasured)
    assert found.absence is Absence.STALE


async def test_its_authority_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await there.handle(reader, writer)

    def serve(authority: Authority) -> ssl.SSLContext:
        leaf = authority.issue("prometheus", DAY, ip_addresses=["127.0.0.1"])
        (tmp_path / "chain.pem").write_bytes(leaf.cert_pem + leaf.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "chain.pem")
        return context

    there, file = FakePrometheus(answer=vector(one(5, cluster="c1"))), tmp_path / "ca.pem"
    first, second = (Authority.create(name, DAY) for name in ("first", "second"))
    file.write_bytes(first.cert_pem)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serve(second)) as server:
        url = "https://{}:{}".format(*server.sockets[0].getsockname())
        source = Prometheus(url, "headrace-schedulers", timeout=30, ca_file=file)
        with pytest.raises(QueryFailed, match="certificate verify failed"):
            await source.query("vector(1)")
        file.write_text("half a file")
        with capture_logs() as logged, pytest.raises(QueryFailed, match="certificate verify failed"):
            await source.query("vector(1)")
        assert [line["event"] for line in logged] == ["the changed authority cannot be used; the old one stays"]
        file.write_bytes(first.cert_pem + second.cert_pem)
        assert await source.query("vector(1)") == {"c1": 5}
    with pytest.raises(BadTlsFile, match="cannot be read as certificates"):
        Prometheus(url, "headrace-schedulers", timeout=5, ca_file=tmp_path / "none")


Change = Callable[[list[dict[str, Any]]], object]

WRONG: dict[str, object] = {
    "no JSON": b"<html>",
    "cut off": json.dumps(vector(*sample("c1"))).encode()[:-5],
    "another JSON": ["a"],
    "no data": {"status": "success"},
    "an error": {"status": "error", "error": "query processing would load too many samples"},
    "a part, with a warning": vector(*sample("c1", idle_seconds=100), warnings=["one store is away"]),
    "a matrix": {"status": "success", "data": {"resultType": "matrix", "result": []}},
    "values that are lists": {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": 1}]},
    },
    "a number twice": vector(*sample("c1"), one(5, metric="clients", cluster="c1")),
    "no age": vector(*(s for s in sample("c1") if s["metric"]["metric"] != "age_seconds")),
    "a sample of the future": vector(*sample("c1", -60)),
    "an age that is no number": vector(*sample("c1", "NaN")),
    "numbers that are none": vector(*sample("c1", clients="many")),
    "idle for longer than it lives": vector(*sample("c1", idle_seconds=20_000)),
    "no series": vector(),
    "labels that are numbers": json.dumps(vector(*sample("c1"))).replace('"c1"', "5").encode(),
    "texts that are none": json.dumps(vector(*sample("c1"))).encode().replace(b"c1", b"\xff"),
    "a histogram": vector(*({"metric": s["metric"], "histogram": [NOW, {}]} for s in sample("c1"))),
    "a time that is none": vector(*({**s, "value": ["now", "0"]} for s in sample("c1"))),
    "a number beyond all": json.dumps(vector(*sample("c1"))).replace("50", "1e400", 1).encode(),
    "without an end": b'{"status":"success","data":{"resultType":"vector","result":' + b"[" * 100_000,
    "deep": b'{"status":"success","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
async def test_a_wrong_answer_decides_nothing(there: FakePrometheus, asking: Asking, answer: object) -> None:
    there.answer = answer
    await asking.signals.measure()
    assert asking.signals.of(C1) == NotMeasured(absence=Absence.MISSING)


async def test_an_answer_that_is_repeated_tells_nothing_new(there: FakePrometheus, asking: Asking) -> None:
    there.answer = vector(*sample("c1", 80))
    await asking.signals.measure()
    first = asking.signals.of(C1)
    assert isinstance(first, Measured)
    there.answer = json.loads(json.dumps(there.answer).replace('"80"', '"1"'))
    await asking.signals.measure()
    assert asking.signals.of(C1) == first
    there.answer = vector(*sample("c1", 1))
    await asking.signals.measure()
    assert asking.signals.of(C1) != first


async def test_one_that_is_away_or_slow_or_refuses_decides_nothing(there: FakePrometheus, hasty: Asking) -> None:
    there.answer = vector(*sample("c1"))
    there.status = "503 Service Unavailable"
    there.answer = b""
    await hasty.signals.measure()
    there.hangs = True
    await hasty.signals.measure()
    away = Prometheus("http://127.0.0.1:1", "job", timeout=0.5)
    with pytest.raises(QueryFailed):
        await away.query("up")
    assert hasty.signals.of(C1) == NotMeasured(absence=Absence.MISSING)


async def test_a_rule_gets_its_values_by_cluster(there: FakePrometheus, asking: Asking) -> None:
    there.answer = vector(
        one(1, cluster="c1"), one(0, cluster="c2"), one("NaN", cluster="c3"), one("+Inf", cluster="c4")
    )
    assert await asking.signals.query("my rule") == {"c1": 1.0, "c2": 0.0}
    assert there.query == "my rule"


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        ("400 Bad Request", {"status": "error", "error": "1:3: parse error: unexpected end of input"}, "parse error"),
        ("200 OK", vector(one(1, owner="ann")), "by \\(cluster\\)"),
        ("200 OK", vector(one(1, cluster="c1", a="1"), one(1, cluster="c1", a="2")), "several series of cluster c1"),
        ("200 OK", {"status": "success", "data": {"resultType": "scalar", "result": []}}, "instant vector"),
        ("502 Bad Gateway", b"<html>", "status 502"),
        ("200 OK", WRONG["deep"], "cannot be read"),
        ("200 OK", b" " * (9 << 20), "more than"),
    ],
)
async def test_a_rule_that_cannot_be_answered_says_why(
    there: FakePrometheus, asking: Asking, status: str, answer: object, says: str
) -> None:
    there.status, there.answer = status, answer
    with pytest.raises(QueryFailed, match=says):
        await asking.signals.query("my rule")


async def test_series_that_a_scheduler_adds_spoil_the_answer_for_its_own_cluster_only(
    there: FakePrometheus, asking: Asking
) -> None:
    there.answer = vector(one(1, cluster="c1"), one(1, cluster="c2", a="1"), one(0, cluster="c2", a="2"))
    answer = dict(await asking.signals.query("rule"))
    assert answer.pop(ClusterId("c1")) == 1
    assert [(cluster, math.isnan(value)) for cluster, value in answer.items()] == [("c2", True)]


async def test_a_slow_rule_is_given_up(there: FakePrometheus, hasty: Asking) -> None:
    there.hangs = True
    with pytest.raises(QueryFailed, match="it did not answer"):
        await hasty.signals.query("my rule")


async def test_the_token_is_sent_as_the_file_says_now(there: FakePrometheus, tmp_path: Path) -> None:
    there.answer = vector()
    token = tmp_path / "token"
    source = Prometheus(there.url, "job", timeout=30, token_file=token)
    with pytest.raises(QueryFailed, match="No such file"):
        await source.query("up")
    for wrong in ("", "two words", "a\r\nX-Other: b", "ü"):
        token.write_text(wrong, newline="")
        with pytest.raises(QueryFailed, match="no token"):
            await source.query("up")
    for given in ("first", "second"):
        token.write_text(given + "\n")
        await source.query("up")
        assert f"\r\nAuthorization: Bearer {given}\r\n" in there.head
