"""What people see: progress while waiting, and clusters in notebooks."""

# pyright: reportPrivateUsage=false
# Views are methods that IPython calls, and their names begin with an underscore.

from __future__ import annotations

import asyncio
import io
import re
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import dask.config
import pytest
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import Gateway
from headrace._dask.progress import NotebookDisplay, PlainDisplay, Progress, TerminalDisplay
from headrace.v1 import cluster_pb2


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once something was printed while a user waits."""
    printed, show = threading.Event(), PlainDisplay.show

    def show_and_tell(display: PlainDisplay, lines: list[str], elapsed: float) -> None:
        show(display, lines, elapsed)
        printed.set()

    monkeypatch.setattr(PlainDisplay, "show", show_and_tell)
    return printed


def test_nothing_is_said_of_a_short_wait(
    gateway: Gateway, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace._dask.progress._SILENT_SECONDS", 60.0)
    progress = Progress()
    progress.report("a moment")
    with ThreadPoolExecutor() as pool:
        progress.wait_for(pool.submit(time.sleep, 0.2))
    assert capfd.readouterr() == ("", "")


def test_a_long_wait_says_what_it_waits_for(
    fake: FakeHeadrace, gateway: Gateway, capfd: pytest.CaptureFixture[str], shown: threading.Event
) -> None:
    fake.starts = False

    def add_event_and_run() -> None:
        while not fake.clusters:
            time.sleep(0.01)
        (cluster,) = fake.clusters.values()
        fake.add_event(cluster, "waits for a node\x1b[31m", cluster_pb2.SEVERITY_WARNING)
        shown.wait(30)
        fake.run(cluster)

    with ThreadPoolExecutor() as pool:
        adding = pool.submit(add_event_and_run)
        gateway.new_cluster().close()
        adding.result()
    lines = [re.sub(r"^\d+\.\d s  ", "", line) for line in capfd.readouterr().err.splitlines() if " s  " in line]
    assert lines == ["waits for a node [31m"]


def test_a_wait_whose_numbers_change_is_one_line_with_the_latest(
    capfd: pytest.CaptureFixture[str], shown: threading.Event
) -> None:
    progress = Progress()
    progress.report("starts")
    for nodes in range(100):
        progress.report(f"waits for room: 0/{nodes} nodes")
    with ThreadPoolExecutor() as pool:
        progress.wait_for(pool.submit(shown.wait, 30))
    lines = [line.partition(" s  ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines == ["starts", "waits for room: 0/99 nodes"]


def test_it_can_be_switched_off(capfd: pytest.CaptureFixture[str]) -> None:
    with dask.config.set({"headrace.progress": False}), ThreadPoolExecutor() as pool:
        progress = Progress()
        progress.report("x")
        progress.wait_for(pool.submit(time.sleep, 0.7))
    assert capfd.readouterr().err == ""


async def test_the_other_face_says_it_too(capfd: pytest.CaptureFixture[str], shown: threading.Event) -> None:
    progress = Progress()
    progress.report("one")
    await progress.follow(asyncio.to_thread(shown.wait, 30))
    assert "s  one" in capfd.readouterr().err


class LateFuture(Future[str]):
    """Its result comes just after somebody who waited for it has given up for now."""

    def result(self, timeout: float | None = None) -> str:
        try:
            return super().result(timeout)
        except TimeoutError:
            self.set_result("it runs")
            raise


def test_a_result_that_comes_between_two_looks_is_no_timeout() -> None:
    assert Progress().wait_for(LateFuture()) == "it runs"


def test_a_timeout_of_what_is_waited_for_is_one() -> None:
    future = Future[str]()
    future.set_exception(TimeoutError("it does not run"))
    with pytest.raises(TimeoutError, match="it does not run"):
        Progress().wait_for(future)


def test_a_terminal_has_one_line_and_at_the_end_none() -> None:
    stream = io.StringIO()
    display = TerminalDisplay(stream)
    display.show(["one"], 1.0)
    display.show(["one", "two"], 2.0)
    display.end(["one", "two"], 2.0)
    assert stream.getvalue() == "\r 1.0 s  one\x1b[K\r 2.0 s  two\x1b[K\r\x1b[K"


def test_a_notebook_has_a_list_that_folds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    display_module: Any = pytest.importorskip("IPython.display")
    shown: list[str] = []

    class Handle:
        def update(self, view: Any) -> None:
            shown.append(view.data)

    def display(view: Any, display_id: bool) -> Handle:
        assert display_id
        shown.append(view.data)
        return Handle()

    monkeypatch.setattr(display_module, "display", display)
    notebook = NotebookDisplay()
    notebook.show(["<b>"], 1.0)
    notebook.end(["<b>", "runs"], 2.0)
    assert "<li>&lt;b&gt;</li>" in shown[0]
    assert shown[1].startswith("<details>")


# Clusters


def test_the_html_view(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        text = cluster._repr_html_()
        assert cluster.name in text
        assert "GatewayCluster" in text
        assert f'href="{cluster.dashboard_link}"' in text
    assert cluster.name in cluster._repr_html_()  # also when it is closed


async def test_the_widget_scales_adapts_and_lives(fake: FakeHeadrace, gateway: Gateway, eventually: Eventually) -> None:
    pytest.importorskip("ipywidgets")
    with gateway.new_cluster() as cluster:
        widget: Any = cluster._widget()
        (status, _), scaling = widget.children[0].children, widget.children[1]
        scale_status, accordion = scaling.children
        (count, scale), (minimum, maximum, adapt) = (box.children for box in accordion.children)
        group = fake.clusters[cluster.name].record.spec.worker_groups[0]
        count.value = 2
        scale.click()
        assert group.size == 2
        await eventually(lambda: "Workers: 2" in scale_status.value)
        minimum.value, maximum.value = 1, 3
        adapt.click()
        assert (group.adapt.minimum, group.adapt.maximum) == (1, 3)
        await eventually(lambda: "Adaptive" in scale_status.value)
        await eventually(lambda: "link=signed" in status.value)


def test_ipython_shows_it(gateway: Gateway, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("IPython")
    with gateway.new_cluster() as cluster:
        cluster._ipython_display_()
        assert repr(cluster) in capfd.readouterr().out
