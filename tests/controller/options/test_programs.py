"""Options in Python: what an administrator's function may return, raise, or do instead of returning."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Eventually

from headrace.errors import HeadraceError, InternalError, InvalidRequest, PermissionDenied, TooManyRequests
from headrace.option_types import Choice, Int, OptionValue, Select, Text
from headrace_chassis.policy_document import BadPolicy
from headrace_controller import bounded_threads
from headrace_controller.bounded_threads import MAX_THREADS
from headrace_controller.options.catalogue import Option, Options
from headrace_controller.options.programs import Offer
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Person, Profile, build_profiles

ANN = Person(user="ann", groups=("lab",))
SHAPE = Option(
    key="shape",
    label="Shape",
    description="",
    type=Select((Choice("small"), Choice("large"))),
    default="small",
    per_group=True,
)


@pytest.fixture
def code() -> Iterator[Any]:
    """A module of an administrator's, with what a test puts into it."""
    module: Any = types.ModuleType("site_options")
    sys.modules["site_options"] = module
    yield module
    del sys.modules["site_options"]


def profile(timeout: float | str = 20) -> Profile:
    text = f"profiles: {{p: {{python: 'site_options:offer', python_timeout: {timeout}}}}}"
    return build_profiles(PolicyFile.read(text), {"local": []}).get("p")


async def check(given: dict[str, object], one: Profile | None = None, person: Person = ANN) -> dict[str, OptionValue]:
    def call(options: Options) -> dict[str, OptionValue]:
        values, violations = options.check(given, "o")
        if violations:
            raise InvalidRequest.of(*violations)
        return values

    return await (one or profile()).use(person, call)


def giving(answer: object) -> Callable[..., Any]:
    """A function that returns this, whatever it is asked."""

    def function(*_: object) -> object:
        return answer

    return function


def lab(user: str, groups: tuple[str, ...]) -> Offer:
    """What the page for administrators shows."""

    def handler(values: dict[str, OptionValue]) -> dict[str, object]:
        if values["shape"] == "large" and "lab" not in groups:
            raise ValueError("large workers are for the lab: ask prof@example.org")
        values.clear()  # its own copy
        return {"worker_cores": 8, "environment": {"OWNER": user, "N": 1}}

    return Offer(options=[SHAPE], handler=handler)


async def test_a_function_offers_options_and_its_handler_says_what_follows(code: Any) -> None:
    code.offer = lab
    keys = await profile().use(ANN, lambda options: [option.key for option in options])
    assert {"shape", "worker_cores"} <= set(keys)
    values = await check({"shape": "large"})
    assert values["shape"] == "large"
    assert (values["worker_cores"], values["environment.OWNER"], values["environment.N"]) == (8.0, "ann", "1")


async def test_what_a_handler_says_overrides_what_a_group_gives(code: Any) -> None:
    code.offer = giving(Offer(handler=lambda _: {"worker_cores": 2}))
    cluster = await check({})
    group = await profile().use(ANN, lambda options: options.check({"worker_cores": 64}, "o", cluster=cluster))
    assert group == ({"worker_cores": 2.0}, [])


async def test_a_function_may_return_a_list_of_options_only(code: Any) -> None:
    def offer(user: str, groups: tuple[str, ...]) -> list[Option]:
        return [SHAPE] if groups else []

    code.offer = offer
    assert (await check({"shape": "large"}))["shape"] == "large"
    with pytest.raises(InvalidRequest, match="there is no such option"):
        await check({"shape": "large"}, person=Person(user="eve"))


async def test_what_it_raises_reaches_the_user_as_written(code: Any) -> None:
    code.offer = lab
    with pytest.raises(InvalidRequest) as caught:
        await check({"shape": "large"}, person=Person(user="eve"))
    assert str(caught.value) == "large workers are for the lab: ask prof@example.org"


@pytest.mark.parametrize(
    ("error", "cls", "text"),
    [
        (ValueError("no"), InvalidRequest, "no"),
        (KeyError("shape"), InvalidRequest, "'shape'"),
        (RuntimeError(), InvalidRequest, "RuntimeError"),
        (StopIteration("x"), InvalidRequest, "x"),
        (TimeoutError("the cluster is slow"), InvalidRequest, "the cluster is slow"),
        (SystemExit(3), InvalidRequest, "3"),
        (ValueError("x" * 10_000), InvalidRequest, "x" * 1000),
        (PermissionDenied("not you"), PermissionDenied, "not you"),
    ],
)
async def test_every_exception_is_a_typed_error(
    code: Any, error: BaseException, cls: type[HeadraceError], text: str
) -> None:
    def fail(*_: object) -> Any:
        raise error

    for offer in (fail, giving(Offer(handler=fail))):
        code.offer = offer
        with pytest.raises(cls) as caught:
            await check({})
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "returned None instead of an Offer"),
        (3, "returned 3 instead of an Offer"),
        ("shape", "returned 's', which is no option"),
        ([None], "returned None, which is no option"),
        ([Option(key="x", label="", description="", type=None, default=1)], "which is no option with a type"),  # pyright: ignore[reportArgumentType]
        ([Option(key="x y", label="", description="", type=Int(), default=1)], "'x y', which must begin with"),
        ([Option(key="x", label="", description="", type=Int(2), default=1)], "'x', which must be at least 2"),
        ([Option(key="x", label="", description="", type=Text(pattern="["), default="")], "is no regular expression"),
        ([SHAPE] * 65, "more than 64 options"),
        ((SHAPE for _ in iter(int, 1)), "more than 64 options"),
        ([Option(key="x", label="l" * 70_000, description="", type=Int(), default=1)], "more than 65536 characters"),
        (Offer(handler=lambda _: None), "has a handler that returned None instead of values by option"),  # pyright: ignore[reportArgumentType]
        (Offer(handler=lambda _: {f"o{n}": n for n in range(65)}), "has a handler that returned more than 64 values"),
        (Offer(handler=3), "has a handler that is no function"),  # pyright: ignore[reportArgumentType]
    ],
)
async def test_nonsense_is_the_administrators_error(code: Any, answer: object, told: str) -> None:
    code.offer = giving(answer)
    with pytest.raises(
        InternalError, match=r"the Python function of profile 'p' .*; tell your administrator"
    ) as caught:
        await check({})
    assert told in str(caught.value)
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    ("found", "field"),
    [
        ({"worker_memory": "lots"}, "o.worker_memory"),
        ({"colour": "red"}, "o.colour"),
        ({3: "red"}, "o.3"),
        ({"environment": {"HEADRACE_ROLE": "x"}}, "o.environment.HEADRACE_ROLE"),
        ({"environment": {"A": None}}, "o.environment.A"),
        ({"environment": "A=b"}, "o.environment"),
    ],
)
async def test_what_a_handler_says_is_checked(code: Any, found: dict[Any, object], field: str) -> None:
    code.offer = giving(Offer(handler=lambda _: found))
    with pytest.raises(InvalidRequest) as caught:
        await check({})
    [violation] = caught.value.violations
    assert violation.field.startswith(field)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module:f", "cannot be imported: ModuleNotFoundError"),
        ("site_options:missing", "cannot be imported: site_options has no 'missing'"),
        ("site_options:number", "'number' of site_options is no function, but 3"),
        ("site_options", "pattern"),
        ("os; import:f", "pattern"),
    ],
)
def test_what_cannot_be_imported_is_told_before_the_policy_is_in_force(code: Any, path: str, reason: str) -> None:
    code.number = 3
    text = f"profiles:\n  p:\n    python: '{path}'"
    with pytest.raises(BadPolicy) as caught:
        PolicyFile.read(text, lambda policy: build_profiles(policy, {"local": []}))
    [found] = caught.value.problems
    assert (found.line, found.key) == (3, "profiles.p.python")
    assert reason in found.reason


async def test_the_example_of_the_documentation_works(code: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "extending.md").read_text(encoding="utf-8")
    section = page.partition("## Offer options in Python\n")[2].partition("\n## ")[0]
    [example] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(example, vars(code))
    values = await check({"shape": "large", "patience": "2 min"})
    assert (values["worker_memory"], values["environment.LAB_PATIENCE"]) == (32 * 2**30, "120")
    with pytest.raises(InvalidRequest, match=r"at most 8 threads: ask prof@example\.org for more"):
        await check({"shape": "large", "worker_threads": 9})
    with pytest.raises(InvalidRequest, match="must be one of 'small', is 'large'"):
        await check({"shape": "large"}, person=Person(user="eve"))


# What hangs


async def answered(one: Profile, user: str) -> dict[str, OptionValue]:
    """Call until there is an answer: on a slow machine one may take longer than the profile allows."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await check({"shape": "large"}, one, Person(user=user))
            except (TooManyRequests, InternalError):
                continue


async def test_a_call_that_hangs_is_given_up_and_keeps_nobody_else_waiting(code: Any) -> None:
    release = threading.Event()

    def offer(user: str, groups: tuple[str, ...]) -> Offer:
        if user == "eve":
            release.wait()
        return Offer(options=[SHAPE])

    code.offer = offer
    one = profile("0.3 s")
    hanging = asyncio.create_task(check({}, one, Person(user="eve")))
    assert (await answered(one, "ann"))["shape"] == "large"
    with pytest.raises(InternalError, match=r"did not answer within 0\.3 s; tell your administrator"):
        await hanging

    async def call_until_busy() -> None:
        while True:
            with suppress(InternalError):  # the call before was given up before it came so far as to hang
                await check({}, one, Person(user="eve"))

    with pytest.raises(TooManyRequests, match="is busy with earlier calls"):
        await call_until_busy()
    assert (await answered(one, "ann"))["shape"] == "large"
    release.set()
    await answered(one, "eve")


async def test_a_loop_without_end_is_ended(code: Any) -> None:
    threads: list[threading.Thread] = []

    def handler(_: object) -> dict[str, object]:
        threads.append(threading.current_thread())
        while True:
            pass

    code.offer = giving(Offer(handler=handler))
    one = profile("0.2 s")
    while not threads:  # a call may be given up before it came so far as to loop
        with pytest.raises((InternalError, TooManyRequests), match=r"did not answer|is busy with earlier calls"):
            await check({}, one)
    await asyncio.to_thread(threads[0].join, 60)
    assert not threads[0].is_alive()


async def test_a_thread_that_begins_late_is_ended_within_its_call(code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up, called = threading.Event(), list[threading.Thread]()
    begin = bounded_threads._call  # pyright: ignore[reportPrivateUsage]

    def begin_late(*arguments: Any) -> None:
        while not given_up.is_set():
            pass
        begin(*arguments)

    def offer(user: str, groups: tuple[str, ...]) -> Offer:
        called.append(threading.current_thread())
        while True:
            pass

    code.offer = offer
    one = profile("0.2 s")
    monkeypatch.setattr(bounded_threads, "_call", begin_late)
    with pytest.raises(InternalError, match="did not answer"):
        await check({}, one)
    await asyncio.sleep(0)  # in which it would be ended
    given_up.set()
    async with asyncio.timeout(60):
        while not called or called[0].is_alive():  # noqa: ASYNC110 a thread
            await asyncio.sleep(0.01)


async def test_threads_are_bounded_whatever_users_do(
    code: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    started: list[str] = []

    def offer(user: str, groups: tuple[str, ...]) -> Offer:
        started.append(user)
        release.wait()
        return Offer()

    code.offer = offer
    one = profile()
    first = [asyncio.create_task(check({}, one, Person(user=f"user{n}"))) for n in range(MAX_THREADS)]
    await eventually(lambda: len(started) == MAX_THREADS)
    assert one.program is not None
    monkeypatch.setattr(one.program._threads, "_seconds", 0.5)  # pyright: ignore[reportPrivateUsage]
    calls = [check({}, one, Person(user=f"user{n % 40}")) for n in range(100)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {TooManyRequests}
    assert len(started) == len(set(started)) == MAX_THREADS
    release.set()
    await asyncio.gather(*first)
