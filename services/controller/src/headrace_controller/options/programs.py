"""Options in Python: an administrator's function of a user, and what it returns."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast, get_args

from headrace.errors import HeadraceError, InternalError, InvalidRequest
from headrace.option_types import OptionType, OptionValue, Text, check_pattern
from headrace_chassis import logs
from headrace_controller.bounded_threads import BoundedThreads
from headrace_controller.options.catalogue import Option
from headrace_controller.policy.modules import CannotImport, load
from headrace_controller.policy.option_settings import check_new_key

T = TypeVar("T")
log = logs.get_logger()

MAX_OPTIONS = 64
MAX_SIZE = 65536
_MAX_MESSAGE = 1000
_TYPES = get_args(OptionType)

Handler = Callable[[dict[str, OptionValue]], Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a function offers to a user.

    Attributes
    ----------
    options
        Options besides those of the profile; one with the key of another takes its place.
    handler
        Called with the value of each option by key. Returns values of options that follow from them; ``environment`` is
        a mapping of environment variables. A ValueError, or any other exception, is the answer to the user.
    """

    options: Sequence[Option] = ()
    handler: Handler | None = None


class Program:
    """A function of a profile's administrator: of a user's name and groups. It returns an `Offer`, or only options.

    It runs in a thread, with a time limit, and so does the handler. Neither blocks anything else of the controller.
    """

    def __init__(self, profile: str, path: str, seconds: float) -> None:
        self._what = f"the Python function of profile {profile!r}"
        self._function = _load(path)
        self._threads = BoundedThreads(self._what, seconds)

    async def run(self, user: str, call: Callable[[], T]) -> T:
        """Run a call that uses `offer` and its handler, in a thread of the user's."""
        return await self._threads.run(user, call)

    def offer(self, user: str, groups: Sequence[str]) -> Offer:
        """Ask the function. What it raises reaches the user as an `InvalidRequest`."""
        offer = self._ask(lambda: self._read(self._function(user, tuple(groups))))
        try:
            options = [_check(option) for option in offer.options]
        except ValueError as error:
            raise self._nonsense(str(error)) from error
        if len(options) > MAX_OPTIONS:
            raise self._nonsense(f"returned more than {MAX_OPTIONS} options")
        if len(repr(options)) > MAX_SIZE:
            raise self._nonsense(f"returned options of more than {MAX_SIZE} characters")
        return Offer(options=options, handler=None if offer.handler is None else self._bounded(offer.handler))

    def _read(self, answer: object) -> Offer:
        offer = answer if isinstance(answer, Offer) else Offer(options=cast("Sequence[Option]", answer))
        given = cast("object", offer.options)
        if not isinstance(given, Iterable):
            raise self._nonsense(f"returned {answer!r:.80} instead of an Offer or a list of options")
        options = list(itertools.islice(cast("Iterable[object]", given), MAX_OPTIONS + 1))
        if wrong := [option for option in options if not (isinstance(option, Option) and _has_type(option))]:
            raise self._nonsense(f"returned {wrong[0]!r:.80}, which is no option with a type")
        if offer.handler is not None and not callable(offer.handler):
            raise self._nonsense(f"has a handler that is no function, but {offer.handler!r:.80}")
        return Offer(options=cast("list[Option]", options), handler=offer.handler)

    def _bounded(self, handler: Handler) -> Handler:
        def call(values: dict[str, OptionValue]) -> dict[str, object]:
            answer = self._ask(lambda: cast("object", handler(copy.deepcopy(values))))
            if not isinstance(answer, Mapping):
                raise self._nonsense(f"has a handler that returned {answer!r:.80} instead of values by option")
            found = {str(key): value for key, value in cast("Mapping[object, object]", answer).items()}
            if len(found) > MAX_OPTIONS:
                raise self._nonsense(f"has a handler that returned more than {MAX_OPTIONS} values")
            return found

        return call

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except HeadraceError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if not isinstance(error, ValueError):
                log.warning("options in Python failed", by=self._what, exc_info=True)
            raise InvalidRequest(str(error)[:_MAX_MESSAGE] or type(error).__name__) from error

    def _nonsense(self, how: str) -> InternalError:
        return InternalError(f"{self._what} {how[:_MAX_MESSAGE]}; tell your administrator")


def _load(path: str) -> Callable[..., object]:
    name, _, attribute = path.partition(":")
    module = load(name)
    where = getattr(module, "__file__", None) or name
    if not hasattr(module, attribute):
        raise CannotImport(f"cannot be imported: {where} has no {attribute!r}")
    function: object = getattr(module, attribute)
    if not callable(function):
        raise CannotImport(f"{attribute!r} of {where} is no function, but {function!r:.80}")
    return function


def _has_type(option: Option) -> bool:
    type_: object = option.type
    return isinstance(type_, _TYPES)


def _check(option: Option) -> Option:
    try:
        check_new_key(option.key)
        if isinstance(option.type, Text) and option.type.pattern is not None:
            check_pattern(option.type.pattern)
        return replace(option, default=option.type.check(option.default))
    except ValueError as error:
        raise ValueError(f"returned the option {option.key!r:.80}, which {error}") from error
