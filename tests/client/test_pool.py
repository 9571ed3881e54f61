"""The event loop that Gateway objects share, as some let go of it while others take it up."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

from headrace._wire import pool as _pool


def test_whoever_takes_the_loop_up_as_another_lets_go_of_it_gets_one_that_runs() -> None:
    for _ in range(200):
        last = _pool.start_loop(None, asynchronous=False)
        letting_go = threading.Thread(target=_pool.stop_loop, args=(last,))
        letting_go.start()
        mine = _pool.start_loop(None, asynchronous=False)
        letting_go.join()
        answered = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "yes"), cast("Any", mine.loop).asyncio_loop)
        assert answered.result(timeout=5) == "yes"
        _pool.stop_loop(mine)
