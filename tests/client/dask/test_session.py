"""The event loop that Gateway objects share, while some stop using it and others start."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

from headrace._dask.session import start_loop, stop_loop


def test_a_new_user_gets_a_loop_that_runs_while_the_last_one_leaves() -> None:
    for _ in range(200):
        last = start_loop(None, asynchronous=False)
        leaving = threading.Thread(target=stop_loop, args=(last,))
        leaving.start()
        mine = start_loop(None, asynchronous=False)
        leaving.join()
        answered = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "yes"), cast("Any", mine.loop).asyncio_loop)
        assert answered.result(timeout=30) == "yes"
        stop_loop(mine)
