"""Runs one scenario at a time against a gateway, for any system: their clients have the same names.

Started by `run.py` with the interpreter of the system's own environment: ``driver.py MODULE ADDRESS``.
Reads a JSON object ``{"scenario": name, ...arguments}`` a line, answers a JSON object a line. Times are seconds.
"""

import asyncio
import contextlib
import importlib
import json
import os
import ssl
import statistics
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import dask.config

module = importlib.import_module(sys.argv[1])
address = sys.argv[2] or None


def gateway(**kwargs):
    return module.Gateway(address, **kwargs) if address else module.Gateway(**kwargs)


def gone(pid):
    """Whether a process has ended; one that waits to be reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pids, within=60):
    end = time.monotonic() + within
    while any(not gone(pid) for pid in pids):
        if time.monotonic() > end:
            raise TimeoutError(f"still there after {within} s: {[p for p in pids if not gone(p)]}")
        time.sleep(0.002)


def pids_of(client):
    nannies = client.run(os.getpid, nanny=True)
    return [client.run_on_scheduler(os.getpid), *nannies.values(), *client.run(os.getpid).values()]


@contextlib.contextmanager
def connected(g):
    """A cluster with a client. At its end it waits until all processes have ended, so that the machine is free."""
    with g.new_cluster() as cluster, cluster.get_client() as client:
        yield cluster, client
        pids = pids_of(client)
    wait_until_gone(pids)


def warm_up():
    """One cluster with one worker, so that nothing that happens once is measured."""
    with gateway() as g, connected(g) as (cluster, client):
        cluster.scale(1)
        client.wait_for_workers(1)
    return {}


def new_cluster():
    """From the call to a connected client."""
    with gateway() as g:
        g.list_clusters()  # logged in, as in a notebook that has been used
        start = time.perf_counter()
        with g.new_cluster() as cluster:
            created = time.perf_counter()
            with cluster.get_client() as client:
                usable = time.perf_counter()
                pids = pids_of(client)
    wait_until_gone(pids)
    return {"created": created - start, "usable": usable - start}


def scale(workers):
    with gateway() as g, connected(g) as (cluster, client):
        start = time.perf_counter()
        cluster.scale(workers)
        client.wait_for_workers(workers, timeout=60)
        return {"joined": time.perf_counter() - start}


def shutdown(workers, after_scale_to_zero=False):
    """From the call until every process is gone."""
    with gateway() as g:
        cluster = g.new_cluster()
        client = cluster.get_client()
        cluster.scale(workers)
        client.wait_for_workers(workers, timeout=60)
        pids = pids_of(client)
        client.close()
        if after_scale_to_zero:
            cluster.scale(0)
        start = time.perf_counter()
        cluster.shutdown()
        called = time.perf_counter()
        wait_until_gone(pids)
        return {"returned": called - start, "gone": time.perf_counter() - start}


async def _burst(clusters):
    async def one(g):
        cluster = await g.new_cluster()
        client = await cluster.get_client()
        return cluster, client, time.perf_counter() - start

    async with gateway(asynchronous=True) as g:
        await g.list_clusters()
        start = time.perf_counter()
        made = await asyncio.gather(*(one(g) for _ in range(clusters)))
        pids = _schedulers([cluster.name for cluster, *_ in made])
        pss = [_pss(pid) for pid in pids]
        for cluster, client, _ in made:
            await client.close()
            await cluster.shutdown()
    wait_until_gone(pids)
    return {"all_usable": max(t for *_, t in made), "scheduler_pss_mib": sorted(pss)[len(pss) // 2]}


def burst(clusters):
    """Clusters at once until all are usable, and the memory of an idle scheduler among them."""
    return asyncio.run(_burst(clusters))


def _schedulers(names):
    """Process ids of these clusters' schedulers; they are not asked, since to answer costs them memory."""
    ids = [name.rpartition("/")[2].encode() for name in names]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_scheduler = b"dask scheduler" in (process / "cmdline").read_bytes().replace(b"\0", b" ")
            if is_scheduler and any(id_ in (process / "environ").read_bytes() for id_ in ids):
                found.append(int(process.name))
    if len(found) != len(ids):
        raise RuntimeError(f"{len(found)} processes of {len(ids)} schedulers found")
    return found


def _pss(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no Pss of process {pid}")


async def _watch_get(seconds):
    latencies = []
    async with gateway(asynchronous=True) as g:
        cluster = await g.new_cluster()
        print(json.dumps({"ready": True}), flush=True)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            await g.get_cluster(cluster.name)
            latencies.append(time.perf_counter() - start)
            await asyncio.sleep(0.002)
        await cluster.shutdown()
    latencies.sort()
    return {
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[int(len(latencies) * 0.99)],
        "count": len(latencies),
    }


def watch_get(seconds):
    """One user's GETs, one after the other, while other users create clusters."""
    return asyncio.run(_watch_get(seconds))


def data_path(megabytes):
    """Through the cluster's connection: round trip of 64 bytes, and bulk to and from the scheduler."""
    with gateway() as g, connected(g) as (_, client):
        result = {"address": client.scheduler.address.split(":")[0]}
        times = []
        for _ in range(200):
            start = time.perf_counter()
            client.sync(client.scheduler.echo, data=b"x" * 64)
            times.append(time.perf_counter() - start)
        times.sort()
        result["echo_p50"] = times[len(times) // 2]
        payload = os.urandom(1 << 20) * megabytes
        start = time.perf_counter()
        client.run_on_scheduler(len, payload)
        result["up_mib_s"] = megabytes / (time.perf_counter() - start)
        start = time.perf_counter()
        client.run_on_scheduler(os.urandom, megabytes << 20)
        result["down_mib_s"] = megabytes / (time.perf_counter() - start)
        return result


def _serve_bytes(dask_scheduler):
    """Let a scheduler take and give bytes that are neither pickled nor packed with the rest of a message."""
    from distributed.protocol import to_serialize

    dask_scheduler.handlers["take_bytes"] = lambda data: data is None
    dask_scheduler.handlers["give_bytes"] = lambda size: to_serialize(bytes(size))


def transfers(sizes, graces):
    """Seconds for bytes to the scheduler and back from it, by name of a client and size.

    The clients of one cluster, each with a `session-grace`, take turns for some seconds; the medians.
    """
    from distributed.protocol import to_serialize

    with contextlib.ExitStack() as stack:
        g = stack.enter_context(gateway())
        cluster, client = stack.enter_context(connected(g))
        clients = {}
        for name, grace in graces.items():
            if grace is None:
                clients[name] = client
                continue
            with dask.config.set({"headrace.session-grace": grace}):
                clients[name] = stack.enter_context(stack.enter_context(g.connect(cluster.name)).get_client())
        client.run_on_scheduler(_serve_bytes)
        result = {name: {} for name in clients}
        for size in sizes:
            payload = to_serialize(os.urandom(min(size, 1 << 20)) * max(size >> 20, 1))
            for way, handler, arguments in (
                ("up", "take_bytes", {"data": payload}),
                ("down", "give_bytes", {"size": size}),
            ):
                times = {name: [] for name in clients}
                end = time.perf_counter() + 4
                while time.perf_counter() < end or len(times[name]) < 3:
                    for name, one in clients.items():
                        start = time.perf_counter()
                        one.sync(getattr(one.scheduler, handler), **arguments)
                        times[name].append(time.perf_counter() - start)
                for name, seconds in times.items():
                    result[name][f"{way} {size}"] = statistics.median(seconds[1:])
        return result


def dashboard_page():
    """A dashboard that is open in a browser, until the next line: where its page is, and a small file of the page."""
    with gateway() as g, connected(g) as (cluster, _):
        # The certificate of `headrace up` is its own.
        with urllib.request.urlopen(cluster.dashboard_link, context=ssl._create_unverified_context()) as page:
            url = urllib.parse.urljoin(page.url, "statics/css/base.css")
        with urllib.request.urlopen(url, context=ssl._create_unverified_context()) as file:
            print(json.dumps({"url": url, "bytes": len(file.read())}), flush=True)
        sys.stdin.readline()
        return {}


SCENARIOS = [warm_up, new_cluster, scale, shutdown, burst, watch_get, data_path, transfers, dashboard_page]


def main():
    by_name = {scenario.__name__: scenario for scenario in SCENARIOS}
    for line in sys.stdin:
        arguments = json.loads(line)
        scenario = by_name[arguments.pop("scenario")]
        try:
            answer = scenario(**arguments)
        except Exception as error:  # noqa: BLE001 - sent to run.py, which reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
