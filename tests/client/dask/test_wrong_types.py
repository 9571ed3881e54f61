"""Each argument of each public function, with a value of a wrong type: an error of ours names the argument."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace import BasicAuth, Gateway, GatewayCluster, JupyterHubAuth, Share, TokenAuth, errors, get_auth
from headrace.arguments import check_type
from headrace.v1.enums import Right


class Nothing:
    """Fits no annotation, and cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


RIGHT_VALUES: dict[str, object] = {"cluster_name": "x", "n": 1, "n_workers": 1, "group": "g", "member": "bob"}
SKIPPED = {"sync", "validate"}


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and name not in SKIPPED and method.__module__.startswith("headrace"):
            yield name, method


def _arguments(function: Callable[..., Any]) -> list[str]:
    variadic = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.name != "self" and one.kind not in variadic]


CALLS = [
    (name, argument)
    for cls in (Gateway, GatewayCluster)
    for name, method in _methods(cls)
    for argument in [f"{cls.__name__}:{argument}" for argument in _arguments(method)]
]
CONSTRUCTORS: list[tuple[Callable[..., Any], str]] = [
    (function, argument)
    for function in (Gateway, GatewayCluster, GatewayCluster.from_name, get_auth, BasicAuth, TokenAuth, JupyterHubAuth)
    for argument in _arguments(function)
]


@pytest.fixture(scope="module")
def unconnected() -> Iterator[dict[str, Any]]:
    """Objects whose methods refuse before they would need a server."""
    gateway = Gateway("https://127.0.0.1:9", auth=BasicAuth("ann"))
    cluster = object.__new__(GatewayCluster)
    vars(cluster).update(vars(gateway))
    yield {"Gateway": gateway, "GatewayCluster": cluster}
    gateway.close()
    vars(cluster).clear()


@pytest.mark.parametrize(("name", "argument"), CALLS)
def test_methods_name_the_argument(unconnected: dict[str, Any], name: str, argument: str) -> None:
    cls, _, argument = argument.partition(":")
    method = getattr(unconnected[cls], name)
    needed = {key: value for key, value in RIGHT_VALUES.items() if key in _arguments(method)}

    def call() -> object:
        result = method(**{**needed, argument: Nothing()})
        return next(result) if inspect.isgenerator(result) else result

    with pytest.raises(errors.WrongType, match=f"^{argument}: must be .*Nothing") as raised:
        call()
    assert isinstance(raised.value, TypeError)


@pytest.mark.parametrize(("function", "argument"), CONSTRUCTORS)
def test_constructors_name_the_argument(function: Callable[..., Any], argument: str) -> None:
    needed = {"cluster_name": "x"} if "cluster_name" in _arguments(function) else {}
    with pytest.raises(errors.WrongType, match=f"^{argument}: must be .*Nothing"):
        function(**{**needed, argument: Nothing()})


def test_there_is_much_to_check() -> None:
    assert len(CALLS) > 60
    assert len(CONSTRUCTORS) > 30


any_gateway: Any = Gateway
any_get_auth: Any = get_auth
any_share: Any = Share
SENTENCES: list[tuple[Callable[[Any], object], str]] = [
    (lambda gateway: gateway.get_cluster(None), "cluster_name: must be text, is None"),
    (lambda gateway: gateway.connect(5), r"cluster_name: must be text, is 5 \(int\)"),
    (lambda gateway: gateway.list_clusters(1), "status: must be text, a ClusterStatus, a list of text or"),
    (lambda gateway: gateway.list_clusters([1]), "status: must be"),
    (lambda gateway: gateway.list_clusters(tags={"a": 1}), "tags: must be a mapping of text and text or None, is"),
    (lambda gateway: gateway.new_cluster(tags=["a"]), "tags: must be a mapping"),
    (lambda gateway: gateway.new_cluster(worker_groups={"a": "b"}), "worker_groups: must be"),
    (lambda gateway: gateway.new_cluster(shares=["ann"]), "shares: must be a list of a Share or None"),
    (lambda gateway: gateway.new_cluster(shares=iter(["ann"])), "shares: must be a Share, is 'ann'"),
    (
        lambda gateway: gateway.submit(shares=[any_share(1, frozenset({Right.CLUSTER_VIEW}))]),
        r"shares\[...\]\.member: must be text, is 1",
    ),
    (
        lambda gateway: gateway.submit(shares=[any_share("users/a", None)]),
        r"shares\[...\]\.rights: must be a list of text",
    ),
    (lambda gateway: gateway.add_worker_group("c", "g", adapt=5), "adapt: must be a pair of a whole number and"),
    (lambda gateway: gateway.scale_cluster("c", True), "n: must be a whole number, is True"),
    (lambda gateway: gateway.adapt_cluster("c", active="no"), "active: must be True or False, is 'no'"),
    (lambda _: any_get_auth(1), "auth: must be a GatewayAuth, text, a subclass of GatewayAuth or None, is 1"),
    (lambda _: any_get_auth(lambda: 1), "auth: must be a GatewayAuth"),
    (lambda _: any_get_auth(int), "auth: must be a GatewayAuth"),
    (lambda _: any_gateway(address=1), "address: must be text or None, is 1"),
    (lambda _: any_gateway(loop=1), "loop: must be an IOLoop or None, is 1"),
]


@pytest.mark.parametrize(("call", "message"), SENTENCES)
def test_the_sentences(unconnected: dict[str, Any], call: Callable[[Any], object], message: str) -> None:
    with pytest.raises(errors.WrongType, match=message):
        call(unconnected["Gateway"])


def test_a_secret_is_not_shown() -> None:
    with pytest.raises(errors.WrongType) as raised:
        BasicAuth("ann", b"hunter2")  # pyright: ignore[reportArgumentType]
    assert raised.value.message == "password: must be text or None, is (bytes)"


def test_a_setter_names_its_argument(unconnected: dict[str, Any]) -> None:
    with pytest.raises(errors.WrongType, match="shutdown"):
        unconnected["GatewayCluster"].shutdown_on_close = "yes"


def test_coroutines_are_checked_too() -> None:
    async def call() -> None:
        async with Gateway("https://127.0.0.1:9", auth=BasicAuth("ann"), asynchronous=True) as gateway:
            wrong: Any = 5
            await gateway.get_cluster(wrong)

    with pytest.raises(errors.WrongType, match="cluster_name"):
        asyncio.run(call())


def test_values_of_numpy_fit() -> None:
    numpy = pytest.importorskip("numpy")
    check_type("n", numpy.int64(3), int)
    check_type("minimum", None, int | None)
    check_type("lifetime", numpy.float32(0.5), float | str)
    check_type("active", numpy.True_, bool)
