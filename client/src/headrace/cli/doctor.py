"""`headrace doctor`: checks the way to a cluster hop by hop, and names the hop that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

import typer

from headrace._target.target import Target
from headrace._wire import auth_calls, calls, diagnosis, policy_calls
from headrace._wire.connection import Connection
from headrace._wire.diagnosis import Hop
from headrace.cli import doctor_clusters, doctor_kubernetes
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.version import versions
from headrace.errors import HeadraceError, PermissionDenied
from headrace.v1 import cluster_service_pb2

app = typer.Typer(add_completion=False)

CALL_SECONDS = 5.0


@app.command()
def doctor(
    cluster: Annotated[
        str, typer.Argument(help="Id or name of the cluster to reach. Default: the newest that runs.")
    ] = "",
    *,
    address: Address = None,
    ca_file: CaFile = None,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Run in a pod: also check DNS, rights and the image there.")
    ] = False,
    namespace: Annotated[
        str, typer.Option(help="With --kubernetes: namespace of the clusters' pods. Default: this pod's.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Find out which part of the way to your clusters fails."""

    async def examine() -> list[Hop]:
        found: list[Hop] = []
        walks = [walk(address, str(ca_file) if ca_file else None, cluster)]
        if kubernetes:
            walks.insert(0, doctor_kubernetes.walk(namespace))
        for hops in walks:
            async for hop in hops:
                found.append(hop)
                if not as_json:
                    print(f"{_mark(hop)}  {hop.name:<13} {hop.message}", flush=True)
        return found

    hops = asyncio.run(examine())
    if as_json:
        print(json.dumps([asdict(hop) for hop in hops], indent=2))
    raise typer.Exit(0 if all(hop.works for hop in hops) else 1)


def _mark(hop: Hop) -> str:
    if not hop.checked:
        return "?   "
    return "ok  " if hop.works else "FAIL"


async def walk(address: str | None, ca_file: str | None, cluster: str) -> AsyncIterator[Hop]:
    """Yield each hop; end with the first failed one that the later ones need."""
    installed = ", ".join(f"{name} {number}" for name, number in versions().items() if number)
    yield Hop("versions", works=True, message=installed)
    try:
        target = Target.resolve(address=address, ca_file=ca_file)
    except HeadraceError as error:
        yield Hop("configuration", works=False, message=f"{error}")
        return
    yield _configuration(target)
    async for hop in diagnosis.hops(target):
        yield hop
        if not hop.works:
            return
    connection = Connection(target)
    try:
        async for hop in _services(connection, cluster):
            yield hop
    finally:
        await connection.close()


def _configuration(target: Target) -> Hop:
    if target.local is None:
        return Hop("configuration", works=True, message=f"{target.address}, login by {target.auth!r}")
    local = target.local
    if not local.running:
        message = f"the `headrace up` of process {local.pid} has ended; start it again with `headrace up`"
        return Hop("configuration", works=False, message=message)
    message = f"{target.address}, the `headrace up` of process {local.pid} (version {local.version})"
    return Hop("configuration", works=True, message=message)


async def _services(connection: Connection, cluster: str) -> AsyncIterator[Hop]:
    for step in (_auth, _login, _controller):
        hop = await step(connection)
        yield hop
        if not hop.works:
            return
    if (hop := await _policy(connection)) is not None:
        yield hop
    yield await _profiles(connection)
    async for hop in doctor_clusters.reach(connection, cluster):
        yield hop


async def _auth(connection: Connection) -> Hop:
    """Call what needs no login: it shows whether the proxy answers and reaches auth."""
    try:
        info = await auth_calls.server_info(connection, timeout=CALL_SECONDS)
    except HeadraceError as error:
        message = f"auth does not answer through {connection.target.address} ({error.message}); its log says more"
        return Hop("auth", works=False, message=message)
    ways = ", ".join(method.method for method in info.login_methods) or "none"
    return Hop("auth", works=True, message=f"headrace {info.version} answers; ways to log in: {ways}")


async def _login(connection: Connection) -> Hop:
    try:
        await connection.login(timeout=CALL_SECONDS)
        user = await auth_calls.whoami(connection)
    except HeadraceError as error:
        message = f"{error.message}; `headrace login` makes a new token"
        return Hop("login", works=False, message=message)
    return Hop("login", works=True, message=f"you are {user.name.removeprefix('users/')}, by {user.method}")


async def _controller(connection: Connection) -> Hop:
    request = cluster_service_pb2.ListClustersRequest(page_size=1)
    try:
        await connection.call(
            connection.clusters.ListClusters, request, doing="asking the controller", timeout=CALL_SECONDS
        )
    except HeadraceError as error:
        message = f"{error.message}; its log says more"
        return Hop("controller", works=False, message=message)
    return Hop("controller", works=True, message="answers")


async def _profiles(connection: Connection) -> Hop:
    """Say which kinds of clusters are offered to this user."""
    try:
        offered = [profile.key for profile in await calls.profiles(connection)]
    except HeadraceError as error:
        return Hop("profiles", works=False, message=f"{error.message}; the controller's log says more")
    if not offered:
        message = "no profile is offered to you, so you cannot create clusters; ask your administrator"
        return Hop("profiles", works=False, message=message)
    others = f", and may choose {', '.join(offered[1:])}" if offered[1:] else ""
    return Hop("profiles", works=True, message=f"you get {offered[0]}{others}")


async def _policy(connection: Connection) -> Hop | None:
    """Say whether the policy file was refused; None to those who may not know."""
    try:
        shown = await policy_calls.show_policy(connection)
    except PermissionDenied:
        return None
    except HeadraceError as error:
        return Hop("policy", works=False, message=f"{error.message}; the controller's log says more")
    if shown.refusal:
        first = shown.refusal.splitlines()[0]
        message = f"the policy file was refused, an older policy holds: {first}; `headrace admin policy show` says all"
        return Hop("policy", works=False, message=message)
    return Hop("policy", works=True, message=f"{shown.file or 'the one of the settings'} is in force")
